"""Find the weights of a network in a file: inside a checkpoint, or with prefixes that wrappers put before each name.

Candidates are ranked by how many names and shapes match. A part of a name is never taken for a wrapper's prefix if the network
itself has it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from microtensor.io.placeholder import Placeholder
from microtensor.nn.module import Module
from microtensor.tensor import Tensor

CHECKPOINT_KEYS = ("state_dict", "model_state_dict", "model", "net", "weights", "params", "network", "model_state", "module")
"""Keys of a checkpoint under which training programs save the weights. These are preferred over averaged copies, whose keys are
model_ema, state_dict_ema …"""

WRAPPER_PARTS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"}
"""Parts of names that wrappers of PyTorch and Lightning insert anywhere: for compiling, sharding or checkpointing a layer."""

WRAPPER_PREFIXES = {"module", "model", "net", "network", *WRAPPER_PARTS}
"""Parts that may precede every name, in any order: of data parallel and averaged models, and of Lightning modules."""

OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(\d)\.")
"""torchvision's published DenseNets use names from before dots were forbidden in them: norm.1 for norm1."""

COUNTER = "num_batches_tracked"
"""The counter of batch normalisation, which old files lack."""

MAX_DEPTH = 6
"""Levels of a file that are searched for weights, to suggest where they are."""

MAX_PREFIXES = 16
"""Prefixes that are tried, the most frequent first: a malicious file may have a million."""


class Match(NamedTuple):
    """A candidate: the tensors at one place in a file whose names have one prefix."""

    place: tuple[Any, ...]
    """The keys that lead to the tensors."""
    prefix: str
    """The prefix of each name."""
    state: dict[str, Tensor]
    """The tensors with that prefix, their names without it."""
    beside: list[str]
    """Names at that place without the prefix."""
    unread: dict[str, Placeholder]
    """Values at that place that could not be read."""
    fitting: int
    """Number of tensors whose name and shape match the network's, without counters."""
    lacking: int
    """Number of the network's tensors without a match; missing counters do not count."""
    unexpected: int
    """Number of tensors with that prefix whose name the network does not have."""

    @property
    def complete(self) -> bool:
        """Whether all parameters and buffers of the network have a match."""
        return self.fitting > 0 and not self.lacking

    def rank(self) -> tuple[bool, int, int, int, int]:
        """The key to sort candidates by. Two complete ones can differ only in the last two entries."""
        known = set(self.prefix.split(".")[:-1]) <= WRAPPER_PREFIXES
        wrapping = 0 if not self.place else 1 + max(map(_order, self.place))
        return self.complete, self.fitting, -self.unexpected, (1 + known if self.prefix else 3), -wrapping


def matches(model: Module, tree: Any) -> list[Match]:
    """Candidates for the network's weights in the tree of a file, best first. Empty if it has no named tensors."""
    own = _shapes(model)
    found = [match for place, named in _places(tree) for match in _at(model, own, place, named)]
    return sorted(found, key=Match.rank, reverse=True)


class Elsewhere(NamedTuple):
    """A place in a file with weights that are not used automatically, because it is not certain that they are meant."""

    place: tuple[Any, ...]
    prefix: str
    fits: bool
    """Whether they match all of the network's tensors."""


def elsewhere(model: Module, tree: Any) -> list[Elsewhere]:
    """Weights with unknown prefixes, or deeper in the file than `matches` looks: those that fit, or all if none does."""
    own, looked = _shapes(model), {place for place, _ in _places(tree)}
    fitting, others = [], []
    for place, named in _all_places(tree, ()):
        tensors = {name: x for name, x in named.items() if isinstance(name, str) and isinstance(x, Tensor)}
        for prefix in _common_prefixes(tensors, own):
            fits = all(shape == _shape(tensors.get(prefix + name)) for name, shape in own.items())
            fitting += [Elsewhere(place, prefix, True)] if fits and (prefix or place not in looked) else []
        others += [Elsewhere(place, "", False)] if tensors and place not in looked else []
    return fitting or others


def _shapes(model: Module) -> dict[str, tuple[int, ...]]:
    return {name: x.shape for name, x in model.state_dict().items() if isinstance(x, Tensor)}


def _order(key: Any) -> int:
    return CHECKPOINT_KEYS.index(key) if key in CHECKPOINT_KEYS else len(CHECKPOINT_KEYS)


def _places(tree: Any) -> Iterator[tuple[tuple[Any, ...], Mapping[str, Any]]]:
    """Where `matches` looks: the tree itself, the values of its keys, and below those only CHECKPOINT_KEYS."""
    if not isinstance(tree, Mapping):
        return
    waiting: list[tuple[tuple[Any, ...], Any]] = [((), tree), *(((key,), value) for key, value in tree.items())]
    for place, value in waiting:
        if not isinstance(value, Mapping) or len(place) > MAX_DEPTH:
            continue
        if any(isinstance(name, str) and isinstance(x, Tensor) for name, x in value.items()):
            yield place, value
        if place and place[-1] in CHECKPOINT_KEYS:
            waiting += [((*place, key), value[key]) for key in CHECKPOINT_KEYS if key in value]


def _all_places(tree: Any, place: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Mapping[str, Any]]]:
    if len(place) > MAX_DEPTH or not isinstance(tree, (Mapping, list, tuple)):
        return
    if isinstance(tree, Mapping):
        yield place, tree
    for key, value in tree.items() if isinstance(tree, Mapping) else enumerate(tree):
        yield from _all_places(value, (*place, key))


def _at(model: Module, own: Mapping[str, Any], place: tuple[Any, ...], named: Mapping[str, Any]) -> Iterator[Match]:
    """The candidates at one place."""
    tensors = {name: x for name, x in named.items() if isinstance(name, str) and isinstance(x, Tensor)}
    unread = {str(name): x for name, x in named.items() if isinstance(x, Placeholder)}
    parts = {part for name in own for part in name.split(".")}
    for inside in (WRAPPER_PARTS - parts, WRAPPER_PARTS - parts | {"module"}):
        if "module" in inside and ("module" in parts or not any("module" in name.split(".") for name in tensors)):
            continue
        plain = {_without(name, inside): x for name, x in tensors.items()}
        if len(plain) < len(tensors):  # two names became equal
            continue
        known = Counter(map(_known_prefix, plain)).most_common(MAX_PREFIXES) if hasattr(model, "renamed") else []
        for before in dict.fromkeys(["", *(prefix for prefix, _ in known)]):
            state = _below(plain, before)
            state = model.renamed(state) if hasattr(model, "renamed") else state
            for prefix in _prefixes(state, own):
                yield _match(own, place, before + prefix, _below(state, prefix), plain, unread)


def _match(
    own: Mapping[str, Any],
    place: tuple[Any, ...],
    prefix: str,
    state: dict[str, Tensor],
    plain: Mapping[str, Tensor],
    unread: dict[str, Placeholder],
) -> Match:
    fitting = {name for name, shape in own.items() if shape == _shape(state.get(name))}
    lacking = sum(name not in fitting and (name in state or not name.endswith(COUNTER)) for name in own)
    unexpected = sum(name not in own for name in state)
    beside = [name for name in plain if not name.startswith(prefix)]
    counted = sum(not name.endswith(COUNTER) for name in fitting)
    return Match(place, prefix, state, beside, unread, counted, lacking, unexpected)


def _prefixes(state: Mapping[str, Tensor], own: Mapping[str, Any]) -> list[str]:
    """Prefixes to try: none, those of known wrappers, and those that most names start with."""
    found = _common_prefixes(state, own)
    known = [prefix for prefix in found if prefix and set(prefix.split(".")[:-1]) <= WRAPPER_PREFIXES]
    others = [prefix for prefix in found if prefix and prefix not in known]
    most = [prefix for prefix in others if 2 * sum(name.startswith(prefix) for name in state) > len(state)]
    return ["", *known, *most]


def _common_prefixes(state: Mapping[str, Tensor], own: Mapping[str, Any]) -> list[str]:
    """All prefixes before a name and shape that match the network's, the most frequent first."""
    found: Counter[str] = Counter()
    longest = max((name.count(".") for name in own), default=0) + 1  # in parts of a name
    for name, x in state.items():
        parts = name.rsplit(".", longest)
        for count in range(1, min(longest, len(parts)) + 1):
            behind = ".".join(parts[-count:])
            if own.get(behind) == x.shape:
                found[name[: len(name) - len(behind)]] += 1
    return [prefix for prefix, _ in found.most_common(MAX_PREFIXES)]


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): x for name, x in state.items() if name.startswith(prefix)}


def _without(name: str, inside: set[str]) -> str:
    parts = [part for part in name.split(".") if part not in inside]
    return OLD_DENSENET.sub(r"\1\2.", ".".join(parts))


def _known_prefix(name: str) -> str:
    """The leading parts of a name that are wrappers'."""
    parts = name.split(".")[:-1]
    count = next((i for i, part in enumerate(parts) if part not in WRAPPER_PREFIXES), len(parts))
    return "".join(part + "." for part in parts[:count])


def _shape(x: Any) -> tuple[int, ...] | None:
    return x.shape if isinstance(x, Tensor) else None
