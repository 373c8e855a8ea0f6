"""Training: the trainer, a whole run, behaviour cloning, and the checks beside them."""
