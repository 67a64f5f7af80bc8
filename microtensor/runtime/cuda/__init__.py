"""CUDA kernels of our own: compiled when first used, launched through CuPy."""
