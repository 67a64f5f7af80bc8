"""`load_weights`: load published weights into a network from files of many kinds, whatever else they contain."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any, TypeVar

from microtensor.io.state import load
from microtensor.nn.loading import few
from microtensor.nn.module import Module
from microtensor.nn.transfer.head import find

from .match_weights import COUNTER, Match, elsewhere, matches

M = TypeVar("M", bound=Module)


def load_weights(model: M, path: str | os.PathLike[str], strict: bool = True) -> M:
    """Load a file of weights into `model`, in place, and return the model.

    Reads `.pth` of torchvision and others, `.safetensors` of timm and Hugging Face, and our own `.npz`. The weights may be
    inside a checkpoint, beside an optimizer's state and settings, and names may have prefixes such as `module.`, `_orig_mod.`
    or `model.`, in any order: names and shapes decide what matches. If a file has several matching sets, plain weights are
    preferred over averaged ones; if that does not decide, it is an error. Tensors without the prefix, such as the weights of a
    loss, are ignored. A network whose published names differ converts them in a method `renamed(state_dict)`, as
    EfficientNetLite does.

    Args:
        strict: refuse names that only the file or only the model has. The counters of batch normalisation, which old files
            lack, may be missing. False loads what matches, and warns about the rest: how many tensors were loaded, which keep
            their values, and which of the file were left over. It is always an error if nothing matches, or if a tensor has
            another shape: for another number of classes, load first, then `nn.transfer.replace_head(model, num_classes)`.

    Raises:
        ValueError: the file is damaged, has no weights, or has those of another network. The message counts the names and
            shapes that do not match, and lists a few; nothing is loaded.
        OSError: the file does not exist.
        ImportError: the file is `.safetensors`, and the extra of that name is missing.

    >>> import os, tempfile
    >>> import microtensor as mt
    >>> from microtensor import models
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "lenet5.npz")
    ...     mt.save(path, {"state_dict": models.lenet5().state_dict(), "epoch": 20})
    ...     model = load_weights(models.lenet5(), path)
    """
    if not isinstance(model, Module):
        raise TypeError(f"load_weights: the model comes first, got {type(model).__name__}: load_weights(model, path)")
    tree = load(path)
    found = matches(model, tree)
    if not found:
        raise ValueError(f"load_weights: {path} holds no weights by name; it has {_keys(tree)}{_where(model, tree, path)}")
    best = found[0]
    own = model.state_dict()
    _refuse_two(path, [match for match in found if match.complete and match.rank() == best.rank()])
    if not best.fitting and not any(name in own and not name.endswith(COUNTER) for name in best.state):
        raise ValueError(
            f"load_weights: {path} holds the weights of another network: nothing in it fits {type(model).__name__}, and "
            f"nothing was loaded\n  missing: {few([*own])}\n  unexpected: {few([*best.state])}{_unread(best)}"
            f"{_where(model, tree, path)}"
        )
    counters = {name: x for name, x in own.items() if best.fitting and name.endswith(COUNTER) and name not in best.state}
    try:
        passed = model.load_state_dict({**best.state, **_extra_state(tree, best, own), **counters}, strict=strict)
    except ValueError as error:
        raise ValueError(
            f"load_weights: {path} holds the weights of another network: {error}{_unread(best)}{_where(model, tree, path)}"
            f"{_other_classes(model, own, best.state, strict)}"
        ) from error
    left = [*passed.unexpected_keys, *best.beside]
    if not strict and (passed.missing_keys or left):
        warnings.warn(
            _report(path, len(own) - len(passed.missing_keys) - len(counters), passed.missing_keys, left), stacklevel=2
        )
    return model


def _extra_state(tree: Any, best: Match, own: Mapping[str, Any]) -> dict[str, Any]:
    """The file's values for modules with extra state: see `Module.get_extra_state`."""
    named = tree
    for key in best.place:
        named = named[key]
    found = {}
    for name in (name for name in own if name.rpartition(".")[2] == "_extra_state"):
        keys = [key for key in named if f".{key}".endswith(f".{name}")]  # with any prefix
        if keys:
            found[name] = named[min(keys, key=len)]
    return found


def _report(path: object, loaded: int, missing: list[str], left: list[str]) -> str:
    parts = [f"load_weights: {loaded:,} tensors were loaded from {path}"]
    parts += [f"{len(missing):,} keep their values: {few(missing)}"] if missing else []
    parts += [f"{len(left):,} of the file's were left over: {few(left)}"] if left else []
    return "; ".join(parts)


def _other_classes(model: Module, own: Mapping[str, Any], state: Mapping[str, Any], strict: bool) -> str:
    """A hint, if the file has the same network with another number of classes."""
    names = {name for name in own.keys() ^ state.keys() if not name.endswith(COUNTER)}
    unlike = {name: x.shape for name, x in state.items() if name in own and x.shape != getattr(own[name], "shape", None)}
    try:
        place, _ = find("load_weights", model, None)
    except ValueError:
        return ""
    weight = f"{place}.weight"
    if not place or weight not in unlike or strict and names:
        return ""
    here, there = own[weight].shape[0], unlike[weight][0]
    if any(getattr(own[name], "shape", None) != (here, *shape[1:]) or shape[0] != there for name, shape in unlike.items()):
        return ""
    return (
        f"\n  {there:,} classes in the file, {here:,} here: load it after nn.transfer.replace_head(model, {there}); "
        f"nn.transfer.replace_head(model, {here}) then gives new scores for {here:,}"
    )


def _refuse_two(path: object, equal: list[Match]) -> None:
    """Refuse a file with several sets of weights that match equally well."""
    others = [match for match in equal[1:] if any(match.state.get(name) is not x for name, x in equal[0].state.items())]
    if others:
        places = dict.fromkeys(_spelled(match) for match in (equal[0], *others))
        raise ValueError(
            f"load_weights: {path} has several sets of weights that fit: {few([*places])}; take one out of "
            "microtensor.load(path), and give it to model.load_state_dict"
        )


def _spelled(match: Match) -> str:
    """The place of weights, for error messages."""
    where = _indexed(match.place)
    return f"{where} with {match.prefix!r} before each name".strip() if match.prefix else where or "the file itself"


def _indexed(place: tuple[Any, ...]) -> str:
    return "".join(f"[{key!r}]"[:200] for key in place)


def _keys(tree: Any) -> str:
    if not isinstance(tree, Mapping):
        return type(tree).__name__
    return ", ".join(str(key)[:80] for key in [*tree][:5]) or "nothing"


def _unread(best: Match) -> str:
    if not best.unread:
        return ""
    return f"\n  not read: {few([f'{name[:80]} is {value.name}' for name, value in best.unread.items()])}"


def _where(model: Module, tree: Any, path: object) -> str:
    """A hint, if there are weights elsewhere in the file."""
    found = elsewhere(model, tree)
    if not found:
        return ""
    place, prefix, fits = found[0]
    state = f"microtensor.load({str(path)!r})" + _indexed(place)
    others = f" (and {len(found) - 1:,} more)" if len(found) > 1 else ""
    if not fits:
        return f"\n  tensors by name are deeper in it: {state}"
    if not prefix:
        return f"\n  what is deeper in it fits{others}: model.load_state_dict({state})"
    some = f"{{name.removeprefix({prefix!r}): x for name, x in {state}.items() if name.startswith({prefix!r})}}"
    return f"\n  those that begin with {prefix!r} fit{others}: model.load_state_dict({some})"
