"""Behaviour cloning: demonstrations, the fit of a model to them, how far it is from them, and the small model."""
