"""Statements about dividing by the standard deviation of a group (eps is 0 throughout)."""
