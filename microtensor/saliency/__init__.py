"""Which pixels a score depends on: the same engine, asked about the image."""

from .gradient import gradient

__all__ = ["gradient"]
