"""Where in the image a deep layer found what speaks for a class: Grad-CAM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd.backward import enable_grad, topological
from ..autograd.graph import Node
from ..nn.hooks import watch_calls
from ..nn.inspect.layer_outputs import layer_of
from ..nn.layers.resize import interpolate
from ..ops.activations import relu as rectified
from ..ops.join import cat
from ..tensor import Tensor
from .explainer import Explainer, Reduce, Target, check_reduce, over_channels
from .rectifiers import relu_rule


def grad_cam(
    model: Callable[[Tensor], Tensor],
    x: Any,
    target: Target = None,
    layer: Any = None,
    relu: bool = True,
    upsample: bool = True,
) -> Tensor:
    """The maps of a layer, each weighed by how much the score gains with it, summed up, and laid over the image.

    Selvaraju et al. 2017, "Grad-CAM", section 3, arxiv.org/abs/1610.02391: the weight of a channel is the mean of the score's
    gradient over the channel's pixels (equation 1); of the weighted sum only what is positive counts (equation 2).

    Args:
        model: a Module, or a function that calls one, as in `gradient`.
        x, target: as in `gradient`.
        layer: a module that the model calls, or, of a Module, its dotted name. Its last call is taken, where it is called
            several times. None: of all calls of modules the last whose result is maps, (N, C, H, W) with more than one pixel:
            what goes into a global pooling.
        relu: keep only what is positive; without it also what speaks against the class.
        upsample: to the size of the image, bilinearly; else the layer's own size.

    Returns:
        (N, H, W), for one image (H, W), without graph; without `upsample` of the layer's H and W.

    Raises:
        TypeError: `layer` is neither a module nor a name, or a name though the model is a function; what it gives is no
            Tensor; and as `gradient`.
        ValueError: it is not in the model, or is not called; it gives no maps, or the score does not depend on them; and as
            `gradient`.

    >>> from microtensor import nn
    >>> net = nn.Sequential(nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> x = Tensor([[[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 4.0]]])
    >>> grad_cam(net, x, upsample=False)
    Tensor([[0.5, 2. ]])
    >>> grad_cam(net, x, layer="0").shape
    (2, 4)
    """
    explainer = Explainer("grad_cam", model, x, target)
    maps = _maps(explainer, layer, relu)
    if upsample and maps.shape[2:] != explainer.images.shape[2:]:
        maps = interpolate(maps, size=explainer.images.shape[2:], mode="bilinear")
    return explainer.answer(maps.squeeze(1))


def guided_grad_cam(
    model: Callable[[Tensor], Tensor], x: Any, target: Target = None, reduce: Reduce = "max", layer: Any = None
) -> Tensor:
    """Guided backpropagation times Grad-CAM: its fine lines, where the class is.

    Selvaraju et al. 2017, section 3.2, arxiv.org/abs/1610.02391.

    Args:
        model, x, target, layer: as in `grad_cam`.
        reduce: as in `gradient`.

    Returns, Raises:
        As `gradient` and `grad_cam`.

    >>> from microtensor import nn
    >>> net = nn.Sequential(nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> guided_grad_cam(net, Tensor([[[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 4.0]]]), layer="0").shape
    (2, 4)
    """
    check_reduce("guided_grad_cam", reduce)
    explainer = Explainer("guided_grad_cam", model, x, target)
    maps = _maps(explainer, layer, relu=True)
    with explainer, relu_rule("guided"):
        g = explainer.gradient(explainer.images)
    return explainer.answer(over_channels(g * interpolate(maps, size=g.shape[2:], mode="bilinear"), reduce))


def _maps(explainer: Explainer, layer: Any, relu: bool) -> Tensor:
    """Grad-CAM in the layer's own size: (N, 1, H', W')."""
    wanted = _module(explainer, layer)
    with explainer, enable_grad():
        if len(explainer.images) > 1:
            explainer.settle()  # whether each image goes through the model alone: then the layer is called for each
        leaf = explainer.images.detach().requires_grad_()
        scores, results = _watched(explainer, wanted, leaf)
        calls = [_last(given, scores) for given in results]
        for maps in calls:
            _check(explainer.name, layer, wanted, maps)
        slopes = explainer.back_to(scores, calls, explainer.seed(scores))
    maps, g = (cat(parts, dim=0) if len(parts) > 1 else parts[0] for parts in (calls, slopes))
    weights = g.mean(dim=(2, 3), keepdim=True)  # (N, C, 1, 1)
    summed = (weights * maps.detach()).sum(dim=1, keepdim=True)
    return rectified(summed) if relu else summed


def _watched(explainer: Explainer, wanted: Any, leaf: Tensor) -> tuple[Tensor, list[list[Any]]]:
    """The scores of the images, and for each call of the model what the layer gave: if it is not said which, all maps."""
    model: Any = explainer.model
    results: list[list[Any]] = []

    def look(module: Any, result: Any) -> None:
        maps = isinstance(result, Node) and result.ndim == 4 and result.shape[2] * result.shape[3] > 1
        if module is wanted or (wanted is None and maps):
            results[-1].append(result)

    def called(images: Tensor) -> Any:
        results.append([])
        return model(images)

    explainer.model = called
    try:
        with watch_calls(after=look):
            return explainer.scores(leaf), results
    finally:
        explainer.model = model


def _last(results: list[Any], scores: Tensor) -> Any:
    """The last result that the scores were computed from: another head may come after it. None: there is none."""
    behind = set() if scores.origin is None else set(topological([scores.origin]))
    leading = [result for result in results if isinstance(result, Node) and result.origin in behind]
    return leading[-1] if leading else results[-1] if results else None


def _check(name: str, layer: Any, wanted: Any, maps: Any) -> None:
    """Refuse what is no maps, or leads nowhere."""
    if maps is None and wanted is None:
        raise ValueError(f"{name}: no layer of the model gives maps (N, C, H, W) of more than one pixel; name one: layer=…")
    if maps is None:
        shown = layer if isinstance(layer, str) else type(layer).__name__
        raise ValueError(f"{name}: the layer {shown!r} is not called when the model computes, or gives nothing")
    if not isinstance(maps, Tensor):
        raise TypeError(f"{name}: the layer must give a Tensor (N, C, H, W), it gives {type(maps).__name__}")
    if maps.ndim != 4:
        raise ValueError(f"{name}: the layer must give maps (N, C, H, W), it gives {maps.shape}; name an earlier one")
    if not maps.requires_grad:
        raise ValueError(f"{name}: what the layer gives does not depend on x")


def _module(explainer: Explainer, layer: Any) -> Any:
    """The module that is meant, or None if none is."""
    whole = hasattr(explainer.model, "named_modules")
    if layer is None:
        return None
    if isinstance(layer, str):
        if not whole:
            kind = type(explainer.model).__name__
            raise TypeError(
                f"{explainer.name}: the model is a {kind}, which knows no layer by name: give the layer itself, as "
                f"layer=network.get_submodule({layer!r})"
            )
        return layer_of(explainer.name, explainer.model, layer)
    if isinstance(layer, type) or not hasattr(layer, "register_forward_hook"):
        raise TypeError(f"{explainer.name}: layer must be a module of the model or its dotted name, got {type(layer).__name__}")
    if whole and not any(layer is module for module in explainer.model.modules()):
        raise ValueError(f"{explainer.name}: the layer {type(layer).__name__} is not in the model")
    return layer
