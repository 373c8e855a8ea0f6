"""Executable statements about credit assignment and sampling (to come)."""
