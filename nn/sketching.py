"""Shapes without values: convolutions and linear layers return zeros of the right shape, and save themselves the products.

`nn.summary` runs a model in this way. It is a file of its own because layers read it and nn/inspect/trace.py sets it.
"""

from __future__ import annotations

import threading


class Sketching(threading.local):
    """Each thread's own switch."""

    on = False


sketching = Sketching()
