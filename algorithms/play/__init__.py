"""Playing: groups of episodes, who plays whom, evaluation, and baselines."""
