"""Pictures: of a training run, of what a network looked at, of how it works inside.

They need matplotlib: `pip install "microtensor[plot]"`.
Each function returns a matplotlib Figure, 8 inches (800 pixels of a web page) wide, and shows nothing: no window, no state of
pyplot. `save` writes it to a file.
"""

from .maps import saliency_grid
from .style import require, save
from .training import confusion_matrix, training_curve

__all__ = ["confusion_matrix", "require", "saliency_grid", "save", "training_curve"]
