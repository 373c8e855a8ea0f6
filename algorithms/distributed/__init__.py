"""Several processes that train one policy, and weights that are sharded among them."""
