"""What dividing by the standard deviation of a group does to the expected gradient (eps is 0 throughout)."""
