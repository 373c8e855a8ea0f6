"""Statements about drawing episodes by absolute advantage (AAW), and about training on those that are drawn."""
