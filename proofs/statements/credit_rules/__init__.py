"""What credit per step does to the expected gradient, and what it leaves as it is."""
