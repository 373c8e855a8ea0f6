"""Playing: groups of episodes, who plays whom, evaluation, and what results are held against."""
