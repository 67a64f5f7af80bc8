"""What a model is made of, what it costs, and what its units see."""
