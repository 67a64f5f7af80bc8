"""Looking on while the engine works: who made the first nan, what a backward pass does, where the time goes."""
