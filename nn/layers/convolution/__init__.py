"""Convolution on arrays, each way in a file of its own."""
