"""The table of saliency methods. The command's choices, the titles of figures and the tests follow from it.

A new method is its function and one line here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from ..random import Generator
from ..tensor import Tensor
from .attribution import input_x_gradient, integrated_gradients, smooth_grad
from .cam import grad_cam, guided_grad_cam
from .gradient import gradient
from .perturbation import occlusion, rise
from .rectifiers import deconvnet, guided_backprop


class Method(NamedTuple):
    """A line of the table: a function model, images, target → maps, and what is known of it."""

    function: Callable[..., Tensor]
    title: str
    """Its name in figures."""
    cost: int
    """Images that pass through the model for the map of one image with `settings`: masked or noisy copies, the image
    itself, and two that check that the model does not mix images."""
    settings: Callable[[int], dict[str, Any]] = lambda side: {}
    """Arguments for images of `side` pixels, such as the number of samples, where the defaults are not used."""

    @property
    def name(self) -> str:
        """The name of the function."""
        return self.function.__name__

    @property
    def needs_layer(self) -> bool:
        """Whether it explains the feature maps of a layer, which may be chosen."""
        return self.takes("layer")

    def takes(self, parameter: str) -> bool:
        """Whether the function has this parameter."""
        return parameter in inspect.signature(self.function).parameters

    def maps(
        self, model: Any, images: Tensor, target: Any, layer: Any = None, generator: Generator | None = None, **settings: Any
    ) -> Tensor:
        """The maps of images, with the table's settings unless others are given.

        >>> METHODS["smooth_grad"].maps(lambda x: x.sum(dim=(2, 3)), Tensor([[[1.0, 2.0]]]), 0, samples=3)
        Tensor([[1., 1.]])

        Args:
            layer, generator: passed on if the function takes them.
        """
        passed = {name: value for name, value in (("layer", layer), ("generator", generator)) if self.takes(name)}
        return self.function(model, images, target, **(self.settings(images.shape[-1]) | passed | settings))


METHODS = {
    method.name: method
    for method in (
        Method(gradient, "gradient", cost=1),
        Method(input_x_gradient, "input × gradient", cost=1),
        Method(smooth_grad, "SmoothGrad", cost=28, settings=lambda side: {"samples": 25}),
        Method(integrated_gradients, "integrated gradients", cost=28, settings=lambda side: {"n_steps": 25}),
        Method(guided_backprop, "guided backprop", cost=1),
        Method(deconvnet, "deconvnet", cost=1),
        Method(grad_cam, "Grad-CAM", cost=1),
        Method(guided_grad_cam, "guided Grad-CAM", cost=2),
        # A window of 48 of 224 pixels, moved by 16, as it scales with the image.
        Method(
            occlusion,
            "occlusion",
            cost=147,
            settings=lambda side: {"window": max(1, side * 3 // 14), "stride": max(1, side * 3 // 14 // 3)},
        ),
        Method(rise, "RISE", cost=1004, settings=lambda side: {"samples": 1000}),
    )
}
"""By name, in the order of figures."""
