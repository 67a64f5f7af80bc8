"""Ways to compute a convolution on a GPU, in CuPy, kernels of our own or cuDNN."""
