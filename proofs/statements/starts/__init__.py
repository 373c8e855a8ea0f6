"""Success or failure over several starts: each start has a weight of its own, which can reverse the gradient."""
