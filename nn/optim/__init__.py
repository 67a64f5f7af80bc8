"""Optimisers, and learning rates that change while training goes on."""
