"""Time of `import` in a new interpreter. NumPy is among the peers, because our import includes NumPy's."""

import subprocess
import sys


def importing(name):
    def work():
        subprocess.run([sys.executable, "-c", f"import {name}"], check=True)

    __import__(name)  # an ImportError says that the peer is not installed
    return work


def microtensor():
    return importing("microtensor")


def numpy():
    return importing("numpy")


def torch():
    return importing("torch")


def autograd():
    return importing("autograd")


def tinygrad():
    return importing("tinygrad")
