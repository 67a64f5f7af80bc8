"""The training loop, what is measured on the way, and what survives."""
