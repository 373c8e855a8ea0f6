"""Exact values by enumeration: trajectories, gradients, state values, the induced game."""
