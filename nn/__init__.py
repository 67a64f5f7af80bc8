"""Layers, losses and optimisers, under PyTorch's names."""
