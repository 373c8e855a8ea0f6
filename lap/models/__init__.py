"""Language models: transformers checkpoints, exact tables, scripts."""
