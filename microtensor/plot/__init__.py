"""Figures of training runs, saliency maps and the inside of networks.

They need matplotlib: `pip install matplotlib`. Each function returns a matplotlib Figure, 8 inches wide (800 pixels on a web
page), without opening a window or changing the state of pyplot. `save` writes it to a file, `save_animation` several to a GIF.
"""

from typing import TYPE_CHECKING, Any

from ..runtime.names import missing
from .animation import save_animation
from .deletion_curves import probability_curves
from .effective_fields import effective_field, gridding
from .features import feature_maps, filter_frames, filters
from .few_shot import few_shot_curve
from .graph_figure import graph
from .lr_curves import learning_rates
from .map_comparison import saliency_methods, softmax_comparison
from .map_grid import saliency_grid
from .max_pool import max_pooling, max_pooling_frames
from .patches import patches
from .receptive_fields import receptive_field_grids, receptive_field_triangles
from .style import require, save
from .training import confusion_matrix, training_curve

__all__ = [
    "confusion_matrix",
    "effective_field",
    "feature_maps",
    "few_shot_curve",
    "filter_frames",
    "filters",
    "graph",
    "gridding",
    "learning_rates",
    "max_pooling",
    "max_pooling_frames",
    "patches",
    "probability_curves",
    "receptive_field_grids",
    "receptive_field_triangles",
    "require",
    "saliency_grid",
    "saliency_methods",
    "save",
    "save_animation",
    "softmax_comparison",
    "training_curve",
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing(__name__, name, __all__)
