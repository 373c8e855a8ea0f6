"""The estimator laboratory: bias, variance and signal of gradient estimators."""
