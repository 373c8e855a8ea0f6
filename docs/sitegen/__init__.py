"""Generates the reference pages of the site from the code. Only ``mathml`` needs Sphinx."""
