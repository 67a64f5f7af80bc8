"""Derivatives of functions of tensors: jacobian, hessian, vjp, jvp, hvp. All call `grad`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .autograd.backward import grad, same
from .autograd.grad_mode import enable_grad
from .autograd.graph import is_floating
from .ops.join import cat
from .tensor import Tensor

Function = Callable[..., Any]


def value_and_grad(func: Function, argnums: int | Sequence[int] = 0) -> Function:
    """`func`, but returning its value and its gradient for the arguments `argnums`: one gradient, or a tuple of them.

    Raises (when called):
        ValueError: the value is not a single number.
        TypeError: such an argument is no tensor of floating-point numbers.

    >>> value_and_grad(lambda x, y: (x * y).sum(), argnums=(0, 1))(Tensor([2.0]), Tensor([3.0]))
    (Tensor(6.), (Tensor([3.]), Tensor([2.])))
    """
    numbers = [argnums] if isinstance(argnums, int) else list(argnums)

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        def chosen(*leaves: Tensor) -> Any:
            replaced = list(args)
            for i, leaf in zip(numbers, leaves):
                replaced[i] = leaf
            return func(*replaced, **kwargs)

        leaves, value = _call("value_and_grad", chosen, [args[i] for i in numbers])
        gradients = _gradients(value, leaves)
        return value.detach(), gradients[0] if isinstance(argnums, int) else tuple(gradients)

    return wrapped


def vjp(func: Function, inputs: Any, v: Any = None) -> tuple[Any, Any]:
    """Vector-Jacobian product: (func(inputs), vᵀ J), as torch.autograd.functional.vjp. One backward pass.

    Args:
        inputs: a tensor or a tuple of them.
        v: of the output's shape; 1 if None and the output is a single number.

    >>> vjp(lambda x: x * x, Tensor([1.0, 2.0]), Tensor([1.0, 10.0]))
    (Tensor([1., 4.]), Tensor([ 2., 40.]))
    """
    leaves, output = _call("vjp", func, inputs)
    return output.detach(), _as_given(inputs, _gradients(output, leaves, v))


def jvp(func: Function, inputs: Any, v: Any = None) -> tuple[Any, Any]:
    """Jacobian-vector product: (func(inputs), J v), as torch.autograd.functional.jvp.

    A vjp, uᵀ J, is linear in its vector u. So its derivative for u, in the direction v, is J v, for any u: two backward passes
    (double backward) instead of forward-mode rules. (J. Townsend 2017, "A new trick for calculating Jacobian vector products".)

    Args:
        inputs: a tensor or a tuple of them.
        v: of the inputs' shapes; 1 if None and the input is a single number.

    >>> jvp(lambda x: x * x, Tensor([1.0, 2.0]), Tensor([1.0, 10.0]))
    (Tensor([1., 4.]), Tensor([ 2., 40.]))
    """
    leaves, output = _call("jvp", func, inputs)
    directions = _directions("jvp", leaves, v)
    if not output.requires_grad:
        return output, _zeros(output)
    with enable_grad():
        u = _zeros(output).requires_grad_()
        products = grad(output, leaves, u, create_graph=True, allow_unused=True)
        pairs = [(p, d) for p, d in zip(products, directions) if p is not None and p.requires_grad]
        if not pairs:
            return output.detach(), _zeros(output)
        (tangent,) = grad([p for p, _ in pairs], u, [d for _, d in pairs], allow_unused=True)
    return output.detach(), _zeros(output) if tangent is None else tangent


def jacobian(func: Function, inputs: Any, create_graph: bool = False) -> Any:
    """All derivatives at once: for an input of shape X and an output of shape Y a tensor of shape (*Y, *X).

    One backward pass for each element of the output.

    Args:
        inputs: a tensor, or a tuple of them for as many arguments of `func`: then a tuple comes back.
        create_graph: the result can be differentiated, also for inputs that require a gradient themselves.

    >>> jacobian(lambda x: x * x, Tensor([1.0, 2.0]))
    Tensor([[2., 0.],
            [0., 4.]])
    """
    leaves, output = _call("jacobian", func, inputs, connect=create_graph)
    seeds = np.eye(output.array.size, dtype=output.dtype).reshape(output.array.size, *output.shape)
    rows = [_gradients(output, leaves, Tensor(seed, device=output.device), True, create_graph) for seed in seeds]
    columns = [
        cat([row[k].reshape((1, *x.shape)) for row in rows]) if rows else x.detach().reshape((1, *x.shape))[:0]
        for k, x in enumerate(leaves)
    ]
    return _as_given(inputs, [c.reshape((*output.shape, *x.shape)) for c, x in zip(columns, leaves)])


def hessian(func: Function, inputs: Any, create_graph: bool = False) -> Any:
    """Second derivatives of a function whose value is a single number: for an input of shape X a tensor of shape (*X, *X).

    For a tuple of inputs a tuple of tuples: `hessian(…)[i][j]` has the derivatives for input i, then input j.

    >>> hessian(lambda x: (x**3).sum(), Tensor([1.0, 2.0]))
    Tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    single = not isinstance(inputs, (tuple, list))

    def gradient_for(i: int) -> Function:
        def gradient(*args: Tensor) -> Tensor:
            return _gradients(func(*args), args, None, True, create_graph=True)[i]

        return gradient

    rows = [jacobian(gradient_for(i), inputs, create_graph) for i in range(1 if single else len(inputs))]
    return rows[0] if single else tuple(rows)


def hvp(func: Function, inputs: Any, v: Any = None) -> tuple[Any, Any]:
    """Hessian-vector product: (func(inputs), H v), without H: two backward passes. (Pearlmutter 1994, Neural Computation 6.)

    Args:
        v: of the inputs' shapes; 1 if None and the input is a single number.

    >>> hvp(lambda x: (x**3).sum(), Tensor([1.0, 2.0]), Tensor([1.0, 1.0]))
    (Tensor(9.), Tensor([ 6., 12.]))
    """
    leaves, output = _call("hvp", func, inputs)
    directions = _directions("hvp", leaves, v)
    first = [(g, d) for g, d in zip(_gradients(output, leaves, None, True, create_graph=True), directions) if g.requires_grad]
    if not first:
        return output.detach(), _as_given(inputs, [_zeros(x) for x in leaves])
    with enable_grad():
        second = grad([g for g, _ in first], leaves, [d for _, d in first], allow_unused=True)
    return output.detach(), _as_given(inputs, [_zeros(x) if g is None else g for x, g in zip(leaves, second)])


def _call(name: str, func: Function, inputs: Any, connect: bool = False) -> tuple[list[Tensor], Tensor]:
    """The inputs as leaves, and the output. `connect`: as results of the inputs, so that gradients flow back into their
    graphs."""
    given = list(inputs) if isinstance(inputs, (tuple, list)) else [inputs]
    leaves: list[Tensor] = []
    with enable_grad():
        for x in given:
            if not isinstance(x, Tensor) or not is_floating(x.dtype):
                found = x.dtype if isinstance(x, Tensor) else type(x).__name__
                raise TypeError(
                    f"{name}: expected floating-point Tensors as inputs, got {found}; wrap or convert: .to('float32')"
                )
            leaves.append(same(x) if connect and x.requires_grad else x.detach().requires_grad_())
        output = func(*leaves)
    if not isinstance(output, Tensor):
        raise TypeError(f"{name}: the function must return one Tensor, it returned {type(output).__name__}")
    return leaves, output


def _gradients(
    output: Tensor, leaves: Sequence[Tensor], v: Any = None, retain: bool = False, create_graph: bool = False
) -> list[Tensor]:
    """The gradient for each leaf: zeros where the output does not depend on it."""
    if not output.requires_grad:
        return [_zeros(x) for x in leaves]
    found = grad(output, leaves, v, retain_graph=retain or create_graph, create_graph=create_graph, allow_unused=True)
    return [_zeros(x) if g is None else g for x, g in zip(leaves, found)]


def _directions(name: str, leaves: Sequence[Tensor], v: Any) -> list[Tensor]:
    if v is None:
        if len(leaves) != 1 or leaves[0].array.size != 1:
            raise ValueError(
                f"{name}: a direction v is only implied (1) for one input of a single number; pass v like the inputs"
            )
        return [leaves[0].constant(leaves[0].xp.ones_like(leaves[0].array))]
    directions = list(v) if isinstance(v, (tuple, list)) else [v]
    if [getattr(d, "shape", None) for d in directions] != [x.shape for x in leaves]:
        shapes = ", ".join(str(x.shape) for x in leaves)
        raise ValueError(f"{name}: v must be a Tensor for each input, of its shape ({shapes}), got {v!r}")
    return directions


def _as_given(inputs: Any, results: list[Tensor]) -> Any:
    """A tuple if the inputs were a tuple, else one tensor."""
    return tuple(results) if isinstance(inputs, (tuple, list)) else results[0]


def _zeros(x: Tensor) -> Tensor:
    zeros: Tensor = x.constant(x.xp.zeros_like(x.array))
    return zeros
