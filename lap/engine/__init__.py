"""How a causal language model of the transformers library samples and scores replies."""
