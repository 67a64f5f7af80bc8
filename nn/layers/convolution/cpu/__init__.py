"""Ways to compute a convolution on a CPU, in NumPy."""
