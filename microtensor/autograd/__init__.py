"""Reverse-mode differentiation: the graph, the form of an operation, the backward pass, and what can be added to them."""
