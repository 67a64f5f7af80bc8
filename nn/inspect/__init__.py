"""Inspecting models: summaries, activations, receptive fields."""
