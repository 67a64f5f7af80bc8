"""Loss scaling for mixed precision: the loss is multiplied by a scale, so that gradients in float16 do not underflow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from microtensor.autograd.arguments import is_number
from microtensor.runtime.arrays import Array, array_module, device_of, follow
from microtensor.runtime.cuda.kernels import Kernels
from microtensor.runtime.cuda.multi_tensor import alike, fit, launch
from microtensor.runtime.integers import is_integer
from microtensor.runtime.text import kind_of
from microtensor.tensor import Tensor

from .optimizer import Optimizer, blocks

kernels = Kernels(__file__, "grad_scaler.cu")

MAX_SCALE = float(np.finfo(np.float32).max)
"""The scale does not grow beyond this."""


class GradScaler:
    """Dynamic loss scaling: searches for the largest scale at which no gradient overflows.

    float16 reaches from 6e-8 to 65504, and gradients are often smaller than that. Multiplied by the scale they do not
    underflow. If one overflows to inf or nan, the step is skipped and the scale is reduced; after `growth_interval` steps
    without overflow it is increased. Micikevicius et al. 2018, "Mixed precision training", section 3.2,
    arxiv.org/abs/1710.03740. Names and numbers are those of torch.amp.GradScaler.

        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)  # only to clip or inspect the gradients
        scaler.step(optimizer)
        scaler.update()

    On a GPU `step` waits for the device once, to learn whether a gradient is inf or nan. On the CPU NumPy warns of overflows,
    unless `backward()` is called inside `np.errstate(over="ignore", invalid="ignore")`, as `fit` does.

    Args:
        device: ignored, gradients may be on any device; it is the first argument of PyTorch's.
        init_scale: the first scale.
        growth_factor: the factor of the scale after `growth_interval` steps without overflow; more than 1.
        backoff_factor: the factor of the scale after an overflow; less than 1.
        growth_interval: steps in a row without overflow.
        enabled: if False, `scale` returns the loss, `step` calls `optimizer.step()`, and the other methods do nothing.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: one is out of range.

    >>> from microtensor import nn
    >>> p = Tensor([1.0], requires_grad=True)
    >>> optimizer, scaler = nn.SGD([p], lr=0.1), GradScaler(init_scale=4.0)
    >>> scaler.scale((p * p).sum()).backward()
    >>> p.grad
    Tensor([8.])
    >>> scaler.step(optimizer)
    >>> scaler.update()
    >>> p, scaler.get_scale()
    (Tensor([0.8], requires_grad=True), 4.0)
    """

    def __init__(
        self,
        device: str | None = None,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        if device is not None and not isinstance(device, str):
            raise TypeError(f"GradScaler: device must be a name, got {device!r} ({kind_of(device)}); give init_scale by name")
        if not isinstance(enabled, bool):
            raise TypeError(f"GradScaler: enabled must be True or False, got {enabled!r} ({kind_of(enabled)})")
        self._enabled = enabled
        self._set(init_scale, growth_factor, backoff_factor, growth_interval, 0)
        self._found: dict[int, _Gradients] = {}

    def _set(self, scale: Any, growth: Any, backoff: Any, interval: Any, tracker: Any) -> None:
        for name, value in (("init_scale", scale), ("growth_factor", growth), ("backoff_factor", backoff)):
            if not is_number(value):
                raise TypeError(f"GradScaler: {name} must be a number, got {value!r} ({kind_of(value)})")
        for name, value, least in (("growth_interval", interval, 1), ("growth_tracker", tracker, 0)):
            if not is_integer(value) or value < least:
                raise ValueError(f"GradScaler: {name} must be an integer of {least} or more, got {value!r}")
        if not 0 < scale <= MAX_SCALE:
            raise ValueError(f"GradScaler: init_scale must be more than 0 and finite in float32, got {scale}")
        if not 1 < growth < math.inf:
            raise ValueError(f"GradScaler: growth_factor must be more than 1 and finite, got {growth}")
        if not 0 < backoff < 1:
            raise ValueError(f"GradScaler: backoff_factor must be more than 0 and less than 1, got {backoff}")
        self._scale, self._growth_factor, self._backoff_factor = float(scale), float(growth), float(backoff)
        self._growth_interval, self._growth_tracker = int(interval), int(tracker)

    def scale(self, outputs: Any) -> Any:
        """A loss, or a list or tuple of losses, times the scale. float16 is cast to float32, so that the product is finite.

        Raises:
            TypeError: it is no floating-point tensor.
        """
        if isinstance(outputs, (list, tuple)):
            return type(outputs)([self.scale(output) for output in outputs])
        if not isinstance(outputs, Tensor) or outputs.dtype.kind != "f":
            given = f"a Tensor of {outputs.dtype}" if isinstance(outputs, Tensor) else kind_of(outputs)
            raise TypeError(f"GradScaler.scale: expected a loss, as a floating-point Tensor, or a list of losses, got {given}")
        if not self._enabled:
            return outputs
        return (outputs.float() if outputs.dtype == np.float16 else outputs) * self._scale

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the gradients of the optimizer's parameters by the scale, in place. `step` does it if it was not called.

        Raises:
            RuntimeError: it, or `step`, was called already since the last `update()`.
            TypeError: it is no optimizer.
            ValueError: a gradient is of float16: the parameters must be float32, see `autocast`.
        """
        if not self._enabled:
            return
        _check("unscale_", optimizer)
        found = self._found.get(id(optimizer))
        if found is not None:
            done = "step()" if found.stepped else "unscale_()"
            raise RuntimeError(
                f"GradScaler.unscale_: {done} was called for this optimizer since the last update(); "
                "call update() once, at the end of each step"
            )
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        half = next((g for g in gradients if g.dtype == np.float16), None)
        if half is not None:
            raise ValueError(
                f"GradScaler.unscale_: a gradient {half.shape} is of float16, and would be 0 without the scale; keep the "
                "parameters in float32, and let autocast() cast them"
            )
        finite = _unscale([gradient.array for gradient in gradients], 1 / self._scale)
        for gradient in gradients:
            gradient.touch()
        self._found[id(optimizer)] = _Gradients(optimizer, finite)

    def step(self, optimizer: Optimizer) -> None:
        """Unscale the gradients, and call `optimizer.step()` unless one is inf or nan.

        Raises:
            RuntimeError: it was called already since the last `update()`; or no parameter has a gradient.
            TypeError, ValueError: as `unscale_`.
        """
        _check("step", optimizer)
        if not self._enabled:
            optimizer.step()
            return
        found = self._found.get(id(optimizer))
        if found is not None and found.stepped:
            raise RuntimeError(
                "GradScaler.step: it was called for this optimizer since the last update(); call update() at the end of a step"
            )
        if found is None:
            self.unscale_(optimizer)
            found = self._found[id(optimizer)]
        if not found.finite:
            del self._found[id(optimizer)]
            raise RuntimeError("GradScaler.step: no parameter has a gradient; scaler.scale(loss).backward() comes first")
        found.stepped = True
        optimizer.has_stepped = True  # also if the step is skipped, so that a schedule may step next
        if not found.overflowed():
            optimizer.step()

    def update(self, new_scale: float | None = None) -> None:
        """Adjust the scale, or set it to `new_scale`: call it once per step, after all optimizers.

        Raises:
            RuntimeError: `step` was not called since the last `update()`.
            TypeError, ValueError: `new_scale` is no valid scale.
        """
        if not self._enabled:
            return
        if new_scale is not None:
            settings = self._growth_factor, self._backoff_factor, self._growth_interval, self._growth_tracker
            self._set(new_scale, *settings)
        elif not self._found:
            raise RuntimeError(
                "GradScaler.update: no gradients were checked since the last update(); step(optimizer) comes first"
            )
        elif any(found.overflowed() for found in self._found.values()):
            self._scale, self._growth_tracker = self._rounded(self._backoff_factor), 0
        else:
            self._growth_tracker += 1
            if self._growth_tracker == self._growth_interval:
                self._scale, self._growth_tracker = self._rounded(self._growth_factor), 0
        self._found = {}

    def _rounded(self, factor: float) -> float:
        """The scale times a factor, rounded to float32; the scale as it is if that would be 0 or infinite."""
        product = self._scale * factor
        rounded = float(np.float32(product)) if product <= MAX_SCALE else math.inf
        return rounded if 0 < rounded < math.inf else self._scale

    def get_scale(self) -> float:
        """The scale; 1 if not enabled."""
        return self._scale if self._enabled else 1.0

    def is_enabled(self) -> bool:
        """Whether loss scaling is enabled."""
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """The scale and the settings, under PyTorch's names; empty if not enabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self._scale,
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._growth_tracker,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore a `state_dict()`, also one of PyTorch's.

        Raises:
            TypeError, ValueError: it is no such state. Nothing is changed then.
        """
        if not self._enabled:
            return
        names = ("scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker")
        if not isinstance(state_dict, Mapping) or not set(names) <= state_dict.keys():
            given = f"the keys {[*state_dict]}" if isinstance(state_dict, Mapping) else kind_of(state_dict)
            raise ValueError(
                f"GradScaler: the state must have {', '.join(names)}, got {given}; was it saved by one not enabled?"
            )
        self._set(*(state_dict[name] for name in names))

    def __repr__(self) -> str:
        if not self._enabled:
            return "GradScaler(enabled=False)"
        factors = f"growth_factor={self._growth_factor:g}, backoff_factor={self._backoff_factor:g}"
        return f"GradScaler(scale={self._scale:g}, {factors}, growth_interval={self._growth_interval})"


class _Gradients:
    """Whether the gradients of one optimizer are finite in this step."""

    def __init__(self, optimizer: Optimizer, finite: list[Array]) -> None:
        self.optimizer = optimizer  # keeps it alive, so that its id is not used again
        self.finite = finite
        self.stepped = False
        self._overflowed: bool | None = None

    def overflowed(self) -> bool:
        """Whether a gradient is inf or nan. The first call waits for the device."""
        if self._overflowed is None:
            devices: dict[str, list[Array]] = {}
            for flag in self.finite:
                devices.setdefault(device_of(flag), []).append(flag)
            self._overflowed = not all(_all(flags) for flags in devices.values())
        return self._overflowed


def _unscale(arrays: list[Array], factor: float) -> list[Array]:
    """Multiply arrays in place by a factor, and return flags whether all results are finite: on a GPU one for many arrays."""
    finite = []
    for data in arrays:
        if not fit((data,)):
            follow(data)
            xp = array_module(data)
            for (part,) in blocks(data):
                part *= factor
                finite.append(xp.asarray(xp.isfinite(part).all()))
    for rows in alike((data,) for data in arrays if fit((data,))):
        follow(rows[0][0])
        overflowed = array_module(rows[0][0]).zeros((), np.float32)
        launch(kernels, "unscale", rows, factor, overflowed)
        finite.append(overflowed == 0)
    return finite


def _all(flags: list[Array]) -> bool:
    """Whether all flags, on one device, are true: one copy to the host."""
    follow(flags[0])
    return bool(array_module(flags[0]).stack(flags).all().item())


def _check(what: str, optimizer: Any) -> None:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"GradScaler.{what}: expected an Optimizer, got {kind_of(optimizer)}")
