"""Statements about credit per step: its expected gradient, and the draw of episodes under it."""
