"""From texts to games: the induced policy, the game closed under text, the game that fixed other agents leave."""
