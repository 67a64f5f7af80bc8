"""Losses: one number that says how wrong a result is."""
