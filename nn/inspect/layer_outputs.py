"""The outputs of the layers inside a model (activations, feature maps), got by forward hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from microtensor.autograd.grad_mode import no_grad
from microtensor.autograd.graph import Node
from microtensor.runtime.arrays import is_array
from microtensor.runtime.text import kind_of
from microtensor.tensor import Tensor

from ..module import Module


class _Stop(Exception):
    """Ends the computation of a model after the layer whose output is needed."""


def activations(model: Any, x: Any, layers: str | Sequence[str] | None = None) -> dict[str, Any]:
    """The outputs of layers of a model for x, by their dotted names.

    The model is called once, in eval mode and without recording a graph; its modes are restored afterwards.

    Args:
        model: a Module.
        x: the input of the model, a Tensor or an array: images (N, C, H, W).
        layers: a name, or several, as in `named_modules`; None: every layer that has no modules below it.

    Returns:
        Name → a copy of the output, usually a Tensor (N, C, H', W'), in the order of `layers`; for a layer that is called
        several times, a list of the outputs, in the order of the calls. With None, layers that were not called are left out.

    Raises:
        TypeError: `model` is no Module, x no Tensor or array, or `layers` has something else than names.
        ValueError: there is no layer of this name, or it was not called; or the model cannot compute on x.

    >>> from microtensor.nn import ReLU, Sequential
    >>> activations(Sequential(ReLU(), Sequential(ReLU())), Tensor([[-1.0, 2.0]]), "1.0")
    {'1.0': Tensor([[0., 2.]])}
    """
    check_model("activations", model)
    names = [name for name, module in model.named_modules() if not any(module.children())] if layers is None else layers
    names = [names] if isinstance(names, str) else list(names) if isinstance(names, (list, tuple)) else names
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError(f'activations: layers must be the name of a layer, such as "features.0", or several, got {layers!r}')
    found: dict[str, list[Any]] = {name: [] for name in names}
    with ExitStack() as stack:
        stack.enter_context(model.evaluating())
        stack.enter_context(no_grad())
        for name in found:
            layer = layer_of("activations", model, name)
            stack.enter_context(layer.register_forward_hook(_collect_in(found[name])))
        model(_input("activations", x, model))
    for name, results in found.items():
        if not results and layers is not None:
            raise ValueError(f"activations: the model did not call its layer {name!r}")
    return {name: results[0] if len(results) == 1 else results for name, results in found.items() if results}


def check_model(who: str, model: Any) -> None:
    """
    Raises:
        TypeError: `model` is no Module.
    """
    if not isinstance(model, Module):
        hint = f"; create one: {model.__name__}(...)" if isinstance(model, type) else ""
        raise TypeError(f"{who}: expected a Module, got {kind_of(model)}{hint}")


def layer_of(who: str, model: Module, name: Any) -> Module:
    """The layer with this dotted name.

    Raises:
        TypeError: the name is no string.
        ValueError: there is no such layer.
    """
    if not isinstance(name, str):
        raise TypeError(f'{who}: a layer is asked for by its dotted name, such as "features.0", got {name!r}')
    try:
        return model.get_submodule(name)
    except AttributeError:
        known = [known for known, _ in model.named_modules(remove_duplicate=False) if known]
        few = ", ".join(known[:12]) + (f" … ({len(known)} in all)" if len(known) > 12 else "")
        raise ValueError(f"{who}: {type(model).__name__} has no layer {name!r}; there is {few or 'none'}") from None


def output_of(model: Module, layer: Module, x: Any) -> Any:
    """The output of a layer at its first call for x; later layers are not computed. None if it is not called."""
    found: list[Any] = []

    def stop(module: Module, args: Any, result: Any) -> None:
        found.append(result)
        raise _Stop

    with layer.register_forward_hook(stop):
        try:
            model(x)
        except _Stop:
            return found[0]
    return None


@contextmanager
def inference(model: Module) -> Iterator[None]:
    """Eval mode and no recording of a graph; the modes are restored afterwards."""
    with model.evaluating(), no_grad():
        yield


def device_of(model: Module) -> str | None:
    """The device of a model's first parameter or buffer; None if it has none."""
    first: Any = next((x for tensors in (model.parameters(), model.buffers()) for x in tensors), None)
    return None if first is None else first.device


def _input(who: str, x: Any, model: Module) -> Tensor:
    if isinstance(x, Tensor):
        return x
    if isinstance(x, Node) or not is_array(x):
        raise TypeError(f"{who}: x must be a Tensor or an array, got {kind_of(x)}; wrap it: Tensor(...)")
    return Tensor(x, device=device_of(model))


def _collect_in(results: list[Any]) -> Callable[..., None]:
    """A forward hook that appends a copy of the output to a list."""

    def collect(module: Module, args: Any, result: Any) -> None:
        results.append(_copy(result))

    return collect


def _copy(result: Any) -> Any:
    """A copy, which does not change if the model later writes to its tensors in place."""
    if isinstance(result, Tensor):
        return result.detach().clone()
    if isinstance(result, (tuple, list)):
        parts = [_copy(part) for part in result]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    return {key: _copy(value) for key, value in result.items()} if isinstance(result, dict) else result
