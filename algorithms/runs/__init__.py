"""Run folders: files that are written atomically, checkpoints, and their reader."""
