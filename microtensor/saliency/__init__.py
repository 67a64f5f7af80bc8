"""Saliency maps: which pixels the score of a class depends on.

    gradients           gradient, input_x_gradient, smooth_grad, integrated_gradients
    modified backward   guided_backprop, deconvnet; relu_rule for any backward pass
    feature maps        grad_cam, guided_grad_cam; reconstruct, reconstruct_patches: the input of one unit
    perturbation        occlusion, rise
    evaluating a map    deletion, insertion, sanity_check
    applications        object_box, fgsm

Each method takes a model, images (N, C, H, W) or a single one (C, H, W), and the class that is explained. The table of the
methods that give maps is `saliency.methods.METHODS`.
"""

from typing import TYPE_CHECKING, Any

from ..runtime.names import missing
from .attack import Attack, fgsm
from .attribution import Integrated, input_x_gradient, integrated_gradients, smooth_grad
from .cam import grad_cam, guided_grad_cam
from .curves import Curve, deletion, insertion
from .gradient import gradient
from .object_box import object_box
from .perturbation import occlusion, rise
from .reconstruction import reconstruct, reconstruct_patches
from .rectifiers import deconvnet, guided_backprop, relu_rule
from .sanity import Stage, sanity_check
from .softmax import before_softmax

__all__ = [
    "Attack",
    "Curve",
    "Integrated",
    "Stage",
    "before_softmax",
    "deconvnet",
    "deletion",
    "fgsm",
    "grad_cam",
    "gradient",
    "guided_backprop",
    "guided_grad_cam",
    "input_x_gradient",
    "insertion",
    "integrated_gradients",
    "object_box",
    "occlusion",
    "reconstruct",
    "reconstruct_patches",
    "relu_rule",
    "rise",
    "sanity_check",
    "smooth_grad",
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing(__name__, name, __all__)
