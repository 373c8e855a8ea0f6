"""Training: the trainer, a whole run, a whole cloning, and their checks."""
