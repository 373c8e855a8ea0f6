"""Generates the reference pages of the site from the code. Nothing here needs Sphinx, but ``mathml`` and ``conf.py``."""
