"""Grad-CAM: which places of a layer's feature maps raise the score of a class."""

from __future__ import annotations

from typing import Any

from ..autograd.backward import topological
from ..autograd.grad_mode import enable_grad
from ..autograd.graph import Node
from ..nn.hooks import watch_calls
from ..nn.inspect.layer_outputs import layer_of
from ..nn.layers.resize import interpolate
from ..ops.activations import relu as rectified
from ..ops.join import cat
from ..tensor import Tensor
from .explainer import Explainer, Model, Reduce, Target, check_reduce, over_channels
from .rectifiers import relu_rule


def grad_cam(
    model: Model,
    x: Any,
    target: Target = None,
    layer: Any = None,
    relu: bool = True,
    upsample: bool = True,
) -> Tensor:
    """The weighted sum of a layer's feature maps, each weighted by its mean gradient, enlarged to the size of the image.

    Selvaraju et al. 2017, "Grad-CAM", section 3, arxiv.org/abs/1610.02391: the weight of a channel is the mean of the score's
    gradient over the channel's pixels (equation 1); of the weighted sum only positive values are kept (equation 2).

    Args:
        model: a Module, or a function that calls one, as in `gradient`.
        x, target: as in `gradient`.
        layer: a module that the model calls, or, if the model is a Module, its dotted name. If it is called several times, the
            last call is used. None: the last call of any module that returns feature maps (N, C, H, W) of more than one
            pixel: the input of a global pooling.
        relu: keep only positive values; False also keeps evidence against the class.
        upsample: enlarge the map bilinearly to the size of the image; False: the size of the feature maps.

    Returns:
        (N, H, W), for a single image (H, W), without a graph; with `upsample=False` the layer's H and W.

    Raises:
        TypeError: `layer` is neither a module nor a name, or is a name but the model is a function; the layer does not return a
            Tensor; and as `gradient`.
        ValueError: the layer is not in the model, or is not called; it does not return feature maps, or the score does not
            depend on them; and as `gradient`.

    >>> from microtensor import nn
    >>> net = nn.Sequential(nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> x = Tensor([[[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 4.0]]])
    >>> grad_cam(net, x, upsample=False)
    Tensor([[0.5, 2. ]])
    >>> grad_cam(net, x, layer="0").shape
    (2, 4)
    """
    explainer = Explainer("grad_cam", model, x, target)
    maps = _class_activation_map(explainer, layer, relu)
    if upsample and maps.shape[2:] != explainer.images.shape[2:]:
        maps = interpolate(maps, size=explainer.images.shape[2:], mode="bilinear")
    return explainer.like_x(maps.squeeze(1))


def guided_grad_cam(model: Model, x: Any, target: Target = None, reduce: Reduce = "max", layer: Any = None) -> Tensor:
    """Guided backpropagation times Grad-CAM: fine detail, restricted to the places that raise the score of the class.

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
    maps = _class_activation_map(explainer, layer, relu=True)
    with explainer, relu_rule("guided"):
        g = explainer.gradient(explainer.images)
    return explainer.like_x(over_channels(g * interpolate(maps, size=g.shape[2:], mode="bilinear"), reduce))


def _class_activation_map(explainer: Explainer, layer: Any, relu: bool) -> Tensor:
    """Grad-CAM in the size of the layer's feature maps: (N, 1, H', W')."""
    module = _module(explainer, layer)
    with explainer, enable_grad():
        if len(explainer.images) > 1:
            explainer.prepare()  # finds out whether images are passed alone: then the layer is called once per image
        leaf = explainer.images.detach().requires_grad_()
        scores, outputs = _scores_and_outputs(explainer, module, leaf)
        used = [_last_used(of_call, scores) for of_call in outputs]
        for maps in used:
            _check_feature_maps(explainer.name, layer, module, maps)
        gradients = explainer.backward(scores, used, explainer.seed(scores))
    maps, g = (cat(parts, dim=0) if len(parts) > 1 else parts[0] for parts in (used, gradients))
    weights = g.mean(dim=(2, 3), keepdim=True)  # (N, C, 1, 1)
    summed = (weights * maps.detach()).sum(dim=1, keepdim=True)
    return rectified(summed) if relu else summed


def _scores_and_outputs(explainer: Explainer, module: Any, leaf: Tensor) -> tuple[Tensor, list[list[Any]]]:
    """The scores, and for each call of the model the outputs of the module (None: all feature maps of any module)."""
    model: Any = explainer.model
    outputs: list[list[Any]] = []

    def keep(called: Any, result: Any) -> None:
        is_maps = isinstance(result, Node) and result.ndim == 4 and result.shape[2] * result.shape[3] > 1
        if called is module or (module is None and is_maps):
            outputs[-1].append(result)

    def watched_model(images: Tensor) -> Any:
        outputs.append([])
        return model(images)

    explainer.model = watched_model
    try:
        with watch_calls(after=keep):
            return explainer.scores(leaf), outputs
    finally:
        explainer.model = model


def _last_used(outputs: list[Any], scores: Tensor) -> Any:
    """The last output that the scores were computed from (another head may come after it); None if there is no output."""
    ancestors = set() if scores.origin is None else set(topological([scores.origin]))
    used = [output for output in outputs if isinstance(output, Node) and output.origin in ancestors]
    return used[-1] if used else outputs[-1] if outputs else None


def _check_feature_maps(name: str, layer: Any, module: Any, maps: Any) -> None:
    """Raise unless a layer's output is feature maps that depend on x."""
    if maps is None and module is None:
        raise ValueError(
            f"{name}: no layer of the model returns feature maps (N, C, H, W) of more than one pixel; choose one: layer=…"
        )
    if maps is None:
        shown = layer if isinstance(layer, str) else type(layer).__name__
        raise ValueError(f"{name}: the layer {shown!r} is not called by the model, or returns nothing")
    if not isinstance(maps, Tensor):
        raise TypeError(f"{name}: the layer must return a Tensor (N, C, H, W), it returns {type(maps).__name__}")
    if maps.ndim != 4:
        raise ValueError(
            f"{name}: the layer must return feature maps (N, C, H, W), it returns {maps.shape}; choose an earlier layer"
        )
    if not maps.requires_grad:
        raise ValueError(f"{name}: the output of the layer does not depend on x")


def _module(explainer: Explainer, layer: Any) -> Any:
    """The module that `layer` names or is; None if it is None."""
    is_module = hasattr(explainer.model, "named_modules")
    if layer is None:
        return None
    if isinstance(layer, str):
        if not is_module:
            kind = type(explainer.model).__name__
            raise TypeError(
                f"{explainer.name}: the model is a {kind}, which has no named layers: pass the layer itself, as "
                f"layer=network.get_submodule({layer!r})"
            )
        return layer_of(explainer.name, explainer.model, layer)
    if isinstance(layer, type) or not hasattr(layer, "register_forward_hook"):
        raise TypeError(f"{explainer.name}: layer must be a module of the model or its dotted name, got {type(layer).__name__}")
    if is_module and not any(layer is module for module in explainer.model.modules()):
        raise ValueError(f"{explainer.name}: the layer {type(layer).__name__} is not in the model")
    return layer
