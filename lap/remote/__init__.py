"""Play on inference servers and learning here, held together: the client, the push of weights, the canary."""
