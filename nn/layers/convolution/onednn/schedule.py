"""How oneDNN does a convolution of some shape: the parts that it is cut into, and the code that is compiled for them.

A part is a convolution of some images, some kernels and some channels, strided views of the whole arrays. A thread copies what
the part reads into the layout that the code wants, runs the code, and copies the result back, all in the cache of its core.
What all parts read is copied into that layout once, before.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from math import prod
from typing import Any, NamedTuple

import numpy as np

from microtensor.runtime import threads
from microtensor.runtime.arrays import Array

from ...windows import Window
from ..problem import OPERATIONS, Problem, Shape
from .bindings import DIRECT, TRAINING, Execution, Failure, Library, Object, Primitive, Sizes

X, W, Y = range(3)
"""Images, kernels, results: the three arrays of a convolution, in this order. One of them is computed from the others."""

FORWARD, GRAD_INPUT, GRAD_WEIGHT = OPERATIONS
RESULT = {FORWARD: Y, GRAD_INPUT: X, GRAD_WEIGHT: W}
ARGUMENTS = {FORWARD: (1, 33, 17), GRAD_INPUT: (129, 33, 145), GRAD_WEIGHT: (1, 161, 145)}
"""oneDNN's numbers of the arguments X, W and Y, or of their gradients."""
BIAS = 41

PART_BYTES = 1 << 22
"""Images and results of a part. Measured: with 1 MiB, depthwise convolutions of small images take twice as long."""

MAX_PARTS = 8
"""A large convolution is cut into at least this many parts, for threads; a sum over images has at most this many part sums."""

MIN_PART_MACS = 1 << 23
"""Multiply-accumulates of a part, at least."""

BLOCK_CHANNELS = 16
"""Channels that lie side by side in the library's layouts: a part has whole blocks of them."""

ALIGNMENT_BYTES = 64
"""A cache line."""

MAX_KEPT_BYTES = 1 << 25
"""Memory that a thread keeps for its next part, at most."""


class Part(NamedTuple):
    """A part of a convolution, itself one."""

    images: slice
    kernels: slice
    channels: slice
    groups: int


class Schedule:
    """How a convolution is done.

    Args:
        least: multiply-accumulates of a part, at least.

    Raises:
        Failure: the library cannot do it, or only slowly.
    """

    def __init__(self, library: Library, problem: Problem, least: int) -> None:
        kind, x, weight, y, groups = problem.operation, problem.x, problem.weight, problem.y, problem.groups
        whole = [np.empty(shape, np.float32) for shape in (x, weight, y)]  # only the addresses of their parts are used
        parts, common = _cut(kind, x, weight, y, groups, least)
        self.result, self.common = RESULT[kind], common if len(parts) > 1 else None
        self.shapes = [x, weight, y]
        self.sums = kind == GRAD_WEIGHT and self.common == W  # then each part has a partial sum of its own
        if self.sums:
            self.shapes[W], self.common = (len(parts), *weight), None
        compiled: dict[tuple[Shape, ...], Compiled] = {}
        self.parts = []
        for i, part in enumerate(parts):
            views = _views(whole, part, groups)
            shapes = tuple(view.shape for view in views)
            if shapes not in compiled:
                bias = problem.bias and kind == FORWARD
                compiled[shapes] = Compiled(library, kind, views, problem.window, part.groups, bias)
            offsets = [view.ctypes.data - array.ctypes.data for view, array in zip(views, whole)]
            if self.sums:
                offsets[W] = i * whole[W].nbytes
            self.parts.append((compiled[shapes], offsets, part.kernels.start * whole[W].itemsize))
        self.compiled = list(compiled.values())

    def run(self, arrays: Sequence[Any], bias: Array | None = None) -> Array:
        """Compute the one of X, W and Y that is None."""
        arrays = [np.empty(s, np.float32) if a is None else np.ascontiguousarray(a) for a, s in zip(arrays, self.shapes)]
        bias = None if bias is None else np.ascontiguousarray(bias)
        starts = [array.ctypes.data for array in arrays]
        ready = {}
        if self.common is not None:
            ready = {code: code.lay_out(self.common, starts[self.common]) for code in self.compiled}

        def one(part: tuple[Compiled, list[int], int]) -> None:
            code, offsets, kernels = part
            addresses = [start + offset for start, offset in zip(starts, offsets)]
            if self.common is not None:
                _, addresses[self.common] = ready[code]
            code.run(addresses, [] if bias is None else [bias.ctypes.data + kernels], self.common)

        threads.share(one, self.parts)
        result = arrays[self.result]
        return result.sum(0) if self.sums else result


def _cut(kind: str, x: Shape, weight: Shape, y: Shape, groups: int, least: int) -> tuple[list[Part], int | None]:
    """The parts, and which of X, W and Y is the same for all.

    They are of some images, if the images have more elements than the weight, which every part reads or adds to. Else they are
    of some channels of the result, or of some groups.
    """
    (n, channels), kernels = x[:2], weight[0]
    worth = max(prod(y) * prod(weight[1:]) // least, 1)
    count = min(MAX_PARTS, 1 << worth.bit_length() - 1)  # a power of two, as the number of cores often is
    images, every, each = slice(0, n), slice(0, kernels), slice(0, channels)
    if 2 * n >= count and prod(weight) <= max(prod(x), prod(y)):
        step = -(-n // count)
        if kind != GRAD_WEIGHT:
            step = max(min(step, max(PART_BYTES // 4, prod(weight)) // (prod(x[1:]) + prod(y[1:]))), 1)
        return [Part(some, every, each, groups) for some in threads.slices(n, step)], W
    if groups == 1 and kind == GRAD_INPUT:
        return [Part(images, every, some, 1) for some in _blocks(channels, count)], Y
    if groups == 1:
        return [Part(images, some, each, 1) for some in _blocks(kernels, count)], X
    parts = []
    for some in _blocks(groups, count, BLOCK_CHANNELS if groups == channels else 1):
        of_each, of_every = (slice(some.start * size, some.stop * size) for size in (channels // groups, kernels // groups))
        parts.append(Part(images, of_every, of_each, some.stop - some.start))
    return parts, None


def _blocks(total: int, count: int, block: int = BLOCK_CHANNELS) -> list[slice]:
    """0 … total cut into about this many parts, of whole blocks."""
    return threads.slices(total, -(-total // (count * block)) * block)


def _views(arrays: list[Array], part: Part, groups: int) -> list[Array]:
    """X, W and Y of a part."""
    x, weight, y = arrays
    seen = part.channels if groups == 1 else slice(None)
    return [x[part.images, part.channels], weight[part.kernels, seen], y[part.images, part.kernels]]


class Compiled:
    """Code for a convolution of one shape, and reorders: copies into the layouts that it wants, and out of them.

    Raises:
        Failure: the library has no such code, or only its reference, which is slow.
    """

    def __init__(self, library: Library, kind: str, views: list[Array], window: Window, groups: int, bias: bool) -> None:
        self.library, self.result, self.bias = library, RESULT[kind], bias
        if groups > 1:  # the library's kernels have an axis for the group
            grouped = views[W].reshape(groups, -1, *views[W].shape[1:])  # a view: groups are not cut
            views = [views[X], grouped, views[Y]]
        with library.one_thread():
            self.convolution = _describe(library, kind, [view.shape for view in views], window, bias)
            if self.convolution.implementation.startswith("ref"):
                raise Failure(f"oneDNN {library.version} has only its reference implementation")
            self.reorders: list[Primitive | None] = []
            for i, view in enumerate(views):
                ours = library.layout(view.shape, [stride // view.itemsize for stride in view.strides])
                its = self.convolution.layouts[i]
                before, after = (its, ours) if i == self.result else (ours, its)
                same = library.c.dnnl_memory_desc_equal(ours, its)
                self.reorders.append(None if same else library.reorder(before, after))
        self.scratch = max(primitive.sizes[-1] for primitive in (*self.reorders, self.convolution) if primitive)
        self.spare: list[tuple[list[Execution | None], Execution]] = []
        """Executions of the reorders and of the convolution that no thread uses now."""

    def lay_out(self, which: int, address: int) -> tuple[Array | None, int]:
        """X, W or Y in the layout that the code wants: the memory and its address."""
        reorder = self.reorders[which]
        if reorder is None:
            return None, address
        memory = np.empty(reorder.sizes[1] + ALIGNMENT_BYTES, np.uint8)
        there = _aligned(memory)
        with self.library.one_thread(), here.places(reorder.sizes[-1:]) as (scratchpad,):
            Execution(reorder).run(here.stream(self.library), (address, there, scratchpad))
        return memory, there

    def run(self, addresses: Sequence[int], bias: Sequence[int], ready: int | None) -> None:
        """Compute one of X, W and Y at these addresses; one of the others may be in the code's layout already (`ready`)."""
        try:
            reorders, convolution = self.spare.pop()
        except IndexError:
            reorders = [None if reorder is None else Execution(reorder) for reorder in self.reorders]
            convolution = Execution(self.convolution)
        used = [None if i == ready else reorder for i, reorder in enumerate(reorders)]
        sizes = [size if reorder else 0 for size, reorder in zip(self.convolution.sizes, used)]
        stream = here.stream(self.library)
        with self.library.one_thread(), here.places([*sizes, self.scratch]) as (*there, scratchpad):
            inside = [new if reorder else old for new, old, reorder in zip(there, addresses, used)]
            for i, reorder in enumerate(used):
                if reorder and i != self.result:
                    reorder.run(stream, (addresses[i], inside[i], scratchpad))
            convolution.run(stream, (*inside, *bias, scratchpad))
            back = used[self.result]
            if back:
                back.run(stream, (inside[self.result], addresses[self.result], scratchpad))
        self.spare.append((reorders, convolution))


def _describe(library: Library, kind: str, shapes: list[Shape], window: Window, bias: bool) -> Primitive:
    """The convolution, in the layouts that the library prefers."""
    layouts = [library.layout(shape) for shape in shapes]
    geometry = [Sizes(*numbers) for numbers in (window.stride, [d - 1 for d in window.dilation], *zip(*window.padding))]
    shift = library.layout((shapes[Y][1],)) if bias else None
    with_bias = (*layouts[:Y], shift, layouts[Y])

    def describe(name: str, *details: Any) -> Object:
        return library.make("primitive_desc", f"convolution_{name}_primitive_desc_create", library.engine, *details)

    made = describe("forward", TRAINING, DIRECT, *with_bias, *geometry, library.attributes)
    if kind == GRAD_INPUT:
        made = describe("backward_data", DIRECT, *layouts, *geometry, made, library.attributes)
    elif kind == GRAD_WEIGHT:
        made = describe("backward_weights", DIRECT, *with_bias, *geometry, made, library.attributes)
    return Primitive(library, made, (*ARGUMENTS[kind], BIAS) if bias else ARGUMENTS[kind])


class _Here(threading.local):
    """A thread's own: the library's stream, and memory, as much as its largest part so far has needed."""

    def __init__(self) -> None:
        self.memory: Array = np.empty(ALIGNMENT_BYTES, np.uint8)
        self.streams: dict[Library, Object] = {}

    def stream(self, library: Library) -> Object:
        if library not in self.streams:
            self.streams[library] = library.stream()
        return self.streams[library]

    @contextmanager
    def places(self, sizes: Sequence[int]) -> Iterator[list[int]]:
        """Addresses of memory of this many bytes each, inside."""
        steps = [-(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES for size in sizes]
        total = sum(steps) + ALIGNMENT_BYTES
        memory = self.memory if total <= len(self.memory) else np.empty(total, np.uint8)
        if total <= MAX_KEPT_BYTES:
            self.memory = memory
        yield list(accumulate(steps[:-1], initial=_aligned(memory)))


here = _Here()


def _aligned(memory: Array) -> int:
    """The first address in it that is a multiple of `ALIGNMENT_BYTES`."""
    return -(-memory.ctypes.data // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
