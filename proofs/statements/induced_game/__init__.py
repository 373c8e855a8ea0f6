"""From texts to games: the induced policy, the game closed under text, and the game of one agent among fixed ones."""
