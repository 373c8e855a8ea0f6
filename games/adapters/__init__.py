"""Environments of other libraries as games."""
