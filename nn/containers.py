"""Containers that compute: layers one after the other, in parallel branches, and around a residual body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from microtensor.ops.join import cat
from microtensor.tensor import Tensor

from .lists import Ordered
from .module import Module


class Layers(Ordered[Module]):
    """Modules in order, as attributes named "0", "1" … or as the caller names them.

    `layers[i]` and `layers["name"]` are modules, a slice is a container of the same modules under the same names. `layers[i] =
    module` replaces one: a new last layer for a trained network. `len`, iteration, `append`, `extend`, `insert`, `pop`, `del`
    and `+` are those of a list; names that are the numbers from 0 on are renumbered.

    Args:
        modules: modules, or one dict of them by name.

    Raises:
        TypeError: one of them is no module.
        ValueError: a name is empty, has a dot or is another attribute already.
    """

    def __init__(self, *modules: Any) -> None:
        named = modules[0] if len(modules) == 1 and isinstance(modules[0], Mapping) else enumerate(modules)
        for name, module in named.items() if isinstance(named, Mapping) else named:
            self._add(str(name), module)


class Sequential(Layers):
    """One module after the other: the result of each is the input of the next. Without modules, the identity.

    >>> from microtensor.nn.layers.activation import ReLU
    >>> from microtensor.nn.layers.linear import Linear
    >>> net = Sequential(Linear(4, 3), ReLU(), Linear(3, 2))
    >>> net
    Sequential(
      (0): Linear(in_features=4, out_features=3, bias=True)
      (1): ReLU()
      (2): Linear(in_features=3, out_features=2, bias=True)
    )
    >>> list(net.state_dict())
    ['0.weight', '0.bias', '2.weight', '2.bias']
    >>> len(net[:2])
    2
    """

    def forward(self, x: Any) -> Any:
        """x (the input of the first module) → the result of the last."""
        for module in list(vars(self).values()):  # as `for module in self`, three times as fast
            if isinstance(module, Module):
                x = module(x)
        return x


class Concat(Layers):
    """Parallel branches: each computes on the same input, and their results are concatenated along axis `dim`.

    The inception module (Szegedy et al. 2014, figure 2, arxiv.org/abs/1409.4842) is one of four branches; a dense layer
    (Huang et al. 2016, equation 2, arxiv.org/abs/1608.06993) is one of two, the first an Identity.

    Args:
        branches: modules, or one dict of them by name.
        dim: the axis along which results are concatenated, and may differ in length; 1 is the axis of the channels.

    >>> from microtensor.nn.layers.linear import Identity, Linear
    >>> Concat(Identity(), Linear(4, 3))(Tensor([[1.0, 2.0, 3.0, 4.0]])).shape
    (1, 7)
    """

    def __init__(self, *branches: Any, dim: int = 1) -> None:
        self.dim = dim
        super().__init__(*branches)

    def forward(self, x: Tensor) -> Tensor:
        """x → the branches' results, (N, C₁ + C₂ + …, …) for `dim` 1.

        Raises:
            ValueError: there is no branch, or results differ in another axis than `dim`.
        """
        return cat([branch(x) for branch in self], dim=self.dim)

    def extra_repr(self) -> str:
        """The axis, if it is not that of the channels."""
        return "" if self.dim == 1 else f"dim={self.dim}"


class Residual(Module):
    """body(x) + shortcut(x): the body learns the difference from its input. He et al. 2015, figure 2, arxiv.org/abs/1512.03385.

    Args:
        body: a module.
        shortcut: a module whose result has the shape of the body's; None for x itself, where that has this shape.

    >>> from microtensor.nn.layers.linear import Identity
    >>> Residual(Identity())(Tensor([1.0, 2.0]))
    Tensor([2., 4.])
    """

    def __init__(self, body: Module, shortcut: Module | None = None) -> None:
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """x → a tensor of the shape of the body's result.

        Raises:
            ValueError: the two shapes differ. They are not broadcast, which would hide a mistake.
        """
        y: Tensor = self.body(x)
        shortcut: Tensor = x if self.shortcut is None else self.shortcut(x)
        if y.shape != shortcut.shape:
            raise ValueError(
                f"Residual: the body gives {y.shape}, the shortcut {shortcut.shape}; a shortcut must change the shape as the "
                "body does: a 1×1 convolution with the body's channels and stride"
            )
        return y + shortcut
