"""Which of a file's tensors are a network's: weights lie in checkpoints, and wrappers put their own names before each name.

What fits decides, by name and shape, and no name is taken to be a wrapper's where it is the network's own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from microtensor.io.placeholder import Placeholder
from microtensor.nn.module import Module
from microtensor.tensor import Tensor

WRAPPINGS = ("state_dict", "model_state_dict", "model", "net", "weights", "params", "network", "model_state", "module")
"""Under which of these keys training programs put the weights, when they save more than these. The first one that fits is
taken, before the same weights averaged, which are called model_ema, state_dict_ema …"""

INSIDE = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"}
"""Parts of names that wrappers of PyTorch's and Lightning's put anywhere: they compile, or shard, or recompute one layer."""

BEFORE = {"module", "model", "net", "network", *INSIDE}
"""What stands before every name, in any order: of parallel and averaged models, and as a Lightning module calls its network."""

OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(\d)\.")
"""torchvision's published DenseNets have their names from before dots in names were forbidden: norm.1 for norm1."""

COUNTER = "num_batches_tracked"
"""Of batch normalisation, which old files lack."""

DEEPEST = 6
"""How deep in a file weights are looked for, to say where they are."""

MOST = 16
"""Of prefixes that are looked at, the most frequent first: a file may come from anywhere, and have a million."""


class Match(NamedTuple):
    """Tensors of a file under a network's names, as they would be if they stood at one place, with one prefix."""

    place: tuple[Any, ...]
    """The keys that lead to them."""
    prefix: str
    """What stands before each name."""
    state: dict[str, Tensor]
    """The tensors that have that prefix, without it."""
    beside: list[str]
    """The names at that place that do not have it."""
    unread: dict[str, Placeholder]
    """What is at that place and is not read."""
    fitting: int
    """How many tensors have a name and a shape of the network's, counters aside."""
    lacking: int
    """How many of the network's have no such tensor, counters aside if they are missing."""
    unexpected: int
    """How many tensors have that prefix, and no name of the network's behind it."""

    @property
    def complete(self) -> bool:
        """Whether the network would have all its numbers from here."""
        return self.fitting > 0 and not self.lacking

    def rank(self) -> tuple[bool, int, int, int, int]:
        """What is compared to find the best one. The last two are all that two complete ones may differ in."""
        known = set(self.prefix.split(".")[:-1]) <= BEFORE
        wrapping = 0 if not self.place else 1 + max(map(_order, self.place))
        return self.complete, self.fitting, -self.unexpected, (1 + known if self.prefix else 3), -wrapping


def matches(model: Module, tree: Any) -> list[Match]:
    """The ways to take a network's weights from what a file holds, best first. Empty if it has no tensors by name."""
    own = _shapes(model)
    found = [match for place, named in _places(tree) for match in _at(model, own, place, named)]
    return sorted(found, key=Match.rank, reverse=True)


class Elsewhere(NamedTuple):
    """Where in a file weights are that are not taken, for it is not certain that they are meant."""

    place: tuple[Any, ...]
    prefix: str
    fits: bool
    """Whether they are all of the network's."""


def elsewhere(model: Module, tree: Any) -> list[Elsewhere]:
    """Weights under other prefixes than wrappers', or deeper than they are looked for: those that fit, or all, if none does."""
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
    return WRAPPINGS.index(key) if key in WRAPPINGS else len(WRAPPINGS)


def _places(tree: Any) -> Iterator[tuple[tuple[Any, ...], Mapping[str, Any]]]:
    """Where names are looked for: the tree itself, what any of its keys leads to, and further down WRAPPINGS alone."""
    if not isinstance(tree, Mapping):
        return
    waiting: list[tuple[tuple[Any, ...], Any]] = [((), tree), *(((key,), value) for key, value in tree.items())]
    for place, value in waiting:
        if not isinstance(value, Mapping) or len(place) > DEEPEST:
            continue
        if any(isinstance(name, str) and isinstance(x, Tensor) for name, x in value.items()):
            yield place, value
        if place and place[-1] in WRAPPINGS:
            waiting += [((*place, key), value[key]) for key in WRAPPINGS if key in value]


def _all_places(tree: Any, place: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Mapping[str, Any]]]:
    if len(place) > DEEPEST or not isinstance(tree, (Mapping, list, tuple)):
        return
    if isinstance(tree, Mapping):
        yield place, tree
    for key, value in tree.items() if isinstance(tree, Mapping) else enumerate(tree):
        yield from _all_places(value, (*place, key))


def _at(model: Module, own: Mapping[str, Any], place: tuple[Any, ...], named: Mapping[str, Any]) -> Iterator[Match]:
    """The ways at one place."""
    tensors = {name: x for name, x in named.items() if isinstance(name, str) and isinstance(x, Tensor)}
    unread = {str(name): x for name, x in named.items() if isinstance(x, Placeholder)}
    parts = {part for name in own for part in name.split(".")}
    for inside in (INSIDE - parts, INSIDE - parts | {"module"}):
        if "module" in inside and ("module" in parts or not any("module" in name.split(".") for name in tensors)):
            continue
        plain = {_without(name, inside): x for name, x in tensors.items()}
        if len(plain) < len(tensors):  # two names became one
            continue
        known = Counter(map(_known_prefix, plain)).most_common(MOST) if hasattr(model, "renamed") else []
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
    """What may stand before the network's names: nothing, what wrappers put there, and what most of the names begin with."""
    found = _common_prefixes(state, own)
    known = [prefix for prefix in found if prefix and set(prefix.split(".")[:-1]) <= BEFORE]
    others = [prefix for prefix in found if prefix and prefix not in known]
    most = [prefix for prefix in others if 2 * sum(name.startswith(prefix) for name in state) > len(state)]
    return ["", *known, *most]


def _common_prefixes(state: Mapping[str, Tensor], own: Mapping[str, Any]) -> list[str]:
    """All that stands before a name and a shape of the network's, the most frequent first."""
    found: Counter[str] = Counter()
    longest = max((name.count(".") for name in own), default=0) + 1  # parts of a name
    for name, x in state.items():
        parts = name.rsplit(".", longest)
        for count in range(1, min(longest, len(parts)) + 1):
            behind = ".".join(parts[-count:])
            if own.get(behind) == x.shape:
                found[name[: len(name) - len(behind)]] += 1
    return [prefix for prefix, _ in found.most_common(MOST)]


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): x for name, x in state.items() if name.startswith(prefix)}


def _without(name: str, inside: set[str]) -> str:
    parts = [part for part in name.split(".") if part not in inside]
    return OLD_DENSENET.sub(r"\1\2.", ".".join(parts))


def _known_prefix(name: str) -> str:
    """As many of a name's first parts as are those of wrappers."""
    parts = name.split(".")[:-1]
    count = next((i for i, part in enumerate(parts) if part not in BEFORE), len(parts))
    return "".join(part + "." for part in parts[:count])


def _shape(x: Any) -> tuple[int, ...] | None:
    return x.shape if isinstance(x, Tensor) else None
