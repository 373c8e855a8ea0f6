"""What is drawn by absolute advantage (AAW), and what training on the drawn episodes does to the gradient."""
