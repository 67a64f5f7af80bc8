"""Layers: an operation and its layer in one file, and the geometry that they share."""
