"""Training: the trainer, a whole run, a whole cloning, and the checks beside them."""
