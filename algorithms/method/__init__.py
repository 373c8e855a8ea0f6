"""The mathematics of MS-GRPO: advantages, credit, episode sampling, weighting, losses, the estimator. No I/O."""
