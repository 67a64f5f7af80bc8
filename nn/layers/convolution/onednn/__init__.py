"""Convolution on a CPU by oneDNN, the optional extra."""
