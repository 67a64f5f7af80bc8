"""Estimated nanoseconds of each way to compute a convolution, of which the cheapest is chosen. To change a choice, edit here.

An estimate is a sum of what a way does, each times a constant: multiply-accumulates, elements copied, products called. They
rank ways; they do not predict times. Those of the CPU are for one core, whatever the number of threads: a choice that
depended on threads would make results depend on them.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

from .gpu import implicit_gemm
from .problem import Problem, flipped

# CPU. Fitted by least squares (relative error), rounded, and three of them (toeplitz per MAC, start and additions of
# im2col_rows) then set so that the choice loses least, on the same measured times of 160 shapes in float32, all three
# operations: those of the benchmarks' networks, and 3×3, 5×5 and 1×1 kernels with 3 to 512 channels; depthwise 3×3 to 7×7,
# stride 1 and 2. Process time of one core, AVX-512, NumPy 2.4 with OpenBLAS 0.3.31. 90 % of the estimates are 0.55 to 1.32
# times the measured times.

GEMM_NS_PER_MAC = 0.0245
"""Matrix product of kernels and columns, 82 GFLOP/s on the busy machine."""

GEMM_NS_PER_WEIGHT_MAC = 0.0285
"""The same in `grad_weight`: a product of two long matrices, of which one is transposed."""

POINTWISE_NS_PER_WEIGHT_MAC = 0.0326
"""The same for `pointwise`, which multiplies image by image."""

GEMM_MIN_ROWS = 3
"""A product of fewer rows takes as long as one of this many: it waits for memory."""

GEMM_CALL_NS = 110
"""Each product of a stack, one for each image and group."""

GEMM_WEIGHT_CALL_NS = 790
"""The same in `pointwise.grad_weight`, whose results are added up."""

IM2COL_NS_PER_ELEMENT = 0.15
"""An element copied to a column and read by the product; of contiguous runs, as for stride 1."""

STRIDED_NS_PER_ELEMENT = 0.6
"""The same for a stride, element by element."""

COL2IM_NS_PER_ELEMENT = 1.45
"""An element of a column, added to its pixel."""

CROP_NS_PER_ELEMENT = 0.3
"""An element of the result, copied from the product; or of the gradient, copied to where the product reads it."""

ROWS_NS_PER_COPY, ROWS_NS_PER_ADDITION = 0.25, 0.44
"""`im2col_rows`: an element copied along a row; an element of the product of a row of kernels, moved and added."""

LINES_NS_PER_ELEMENT = 0.36
"""`depthwise`: an element of the result, for each row and each column of the kernel."""

STRIDED_LINES_NS_PER_ELEMENT, PHASE_NS_PER_ELEMENT = 0.55, 0.35
"""The same for a stride; and an element of the images, copied to its phase."""

IM2COL_START_NS, ROWS_START_NS, LINES_START_NS = 25_000, 30_000, 55_000
"""Python and NumPy calls of a convolution, whatever its size: `im2col`, `im2col_rows`, `depthwise`."""

TOEPLITZ_NS_PER_MAC, TOEPLITZ_CALL_NS, TOEPLITZ_NS_PER_ELEMENT = 0.023, 260, 2.3
"""`toeplitz`: a multiply-accumulate, mostly with 0; a product; an element written into a matrix."""

TOEPLITZ_WEIGHT_FACTOR = 2.5
"""Its `grad_weight` takes this many times as long: its products have few rows, and write a result as large as the matrix."""

TOEPLITZ_START_NS = 60_000
"""Python and NumPy calls, as above."""

VECTOR_ELEMENTS = 16
"""Columns of a result that BLAS computes at once: a vector register of float32."""

# oneDNN, fitted likewise to its times of 109 of these shapes (oneDNN 3.2). Its elements are copied into its layout, and back.

BLOCK_CHANNELS = 16
"""Channels or kernels that oneDNN computes at once: fewer take as long."""

ONEDNN_NS_PER_MAC, ONEDNN_NS_PER_WEIGHT_MAC = 0.0175, 0.0213
"""A multiply-accumulate; in `grad_weight`."""

ONEDNN_NS_PER_POINTWISE_MAC = 0.0226
"""A multiply-accumulate of a 1×1 kernel."""

ONEDNN_NS_PER_ELEMENT, ONEDNN_NS_PER_SMALL_ELEMENT = 0.5, 0.26
"""An element of images or results; in `grad_weight`, and for 1×1 and depthwise kernels."""

ONEDNN_NS_PER_WEIGHT = 1.2
"""An element of the weight in `grad_weight`, which adds up partial sums."""

ONEDNN_START_NS = 20_000
"""Python calls, as above."""

# GPU. From data sheets: our kernels have not been timed on a GPU yet. (A100: 19.5 TFLOP/s and 1.6 to 2 TB/s; H100:
# 67 TFLOP/s and 3.35 TB/s; half of it for float64.) GFLOP/s are FLOP per ns, GB/s bytes per ns. By the letter of the dtype.

GPU_MEMORY_GB_PER_S = 3_000
GPU_CACHE_GB_PER_S = 9_000
"""The L2 cache, from which `implicit_gemm` reads the same elements again."""

GPU_PLAIN_GFLOPS = {"e": 60_000, "f": 60_000, "d": 30_000}
"""Plain arithmetic; float16 is computed in float32."""

GPU_MATRIX_GFLOPS = {"e": 600_000, "f": 60_000, "d": 60_000}
"""With tensor cores, which cuBLAS uses where there are any for the dtype."""

GPU_TF32_GFLOPS = 300_000
"""The same for float32, where it may be computed in TF32."""

LIBRARY_SHARE, OUR_SHARE = 0.8, 0.5
"""The part of these rates that a matrix product attains, assumed: cuBLAS's, and our kernel's, whose threads hold 4 × 4 results
each where cuBLAS's hold 8 × 8 and so read half as much from shared memory."""

LIBRARY_TILE_ROWS = 32
"""The smallest tile of cuBLAS, about: a matrix with fewer rows takes as long."""

GPU_LAUNCH_NS = 3_300
"""Launch of a kernel."""


# Ways of the CPU


def im2col(problem: Problem) -> float:
    """A copy of every window, and a product."""
    there = flipped(problem) if problem.operation == "grad_input" else None
    if there is not None:
        return im2col(there)
    calls, columns = problem.images * problem.groups * GEMM_CALL_NS, problem.column_elements
    fixed = IM2COL_START_NS + calls
    if problem.operation == "grad_input":
        return fixed + problem.macs * GEMM_NS_PER_MAC + columns * COL2IM_NS_PER_ELEMENT
    weight = problem.operation == "grad_weight"
    copies = columns * (IM2COL_NS_PER_ELEMENT if problem.window.stride == (1, 1) else STRIDED_NS_PER_ELEMENT)
    macs = problem.macs * max(GEMM_MIN_ROWS / problem.kernels, 1) * (GEMM_NS_PER_WEIGHT_MAC if weight else GEMM_NS_PER_MAC)
    return fixed + copies + macs + problem.y_elements * CROP_NS_PER_ELEMENT


def im2col_rows(problem: Problem) -> float:
    """A copy for each column of the kernel, a product, and an addition for each of its rows."""
    there = flipped(problem) if problem.operation == "grad_input" else None
    if there is not None:
        return im2col_rows(there)
    pixels, (kh, kw) = prod(problem.size), problem.window.kernel
    copies = problem.images * problem.channels * kw * pixels * ROWS_NS_PER_COPY
    additions = problem.images * problem.kernels * kh * pixels * ROWS_NS_PER_ADDITION
    rate = GEMM_NS_PER_WEIGHT_MAC if problem.operation == "grad_weight" else GEMM_NS_PER_MAC
    return ROWS_START_NS + copies + additions + problem.macs * rate


def pointwise(problem: Problem) -> float:
    """A product for each image."""
    calls = problem.images * problem.groups
    if problem.operation == "grad_weight":
        return calls * GEMM_WEIGHT_CALL_NS + problem.macs * POINTWISE_NS_PER_WEIGHT_MAC
    return calls * GEMM_CALL_NS + problem.macs * GEMM_NS_PER_MAC


def depthwise(problem: Problem) -> float:
    """A copy for each column of the kernel, an addition for each of its rows."""
    strided, (kh, kw) = problem.window.stride != (1, 1), problem.window.kernel
    work = problem.y_elements * (kh + kw) * (STRIDED_LINES_NS_PER_ELEMENT if strided else LINES_NS_PER_ELEMENT)
    calls = problem.images * problem.groups * GEMM_CALL_NS
    return LINES_START_NS + work + calls + strided * problem.x_elements * PHASE_NS_PER_ELEMENT


def toeplitz(problem: Problem) -> float:
    """Products with a matrix of mostly zeros."""
    return TOEPLITZ_START_NS + toeplitz_block(problem)[0] * problem.y_elements


@lru_cache(maxsize=1024)
def toeplitz_block(problem: Problem) -> tuple[float, int]:
    """Nanoseconds for each element of the result, and the rows of results that make the best block."""
    window, images, (rows, columns) = problem.window, problem.images, problem.places
    factor, best = TOEPLITZ_WEIGHT_FACTOR if problem.operation == "grad_weight" else 1.0, (float("inf"), 1)
    for block in range(1, rows + 1):
        seen = min((block - 1) * window.stride[0] + window.effective_kernel[0], problem.size[0]) * problem.size[1]
        padded = -(-block * columns // VECTOR_ELEMENTS) * VECTOR_ELEMENTS / (block * columns)
        matrices = min(-(-rows // block), 3)  # one at the top, one at the bottom, one for all between
        calls = TOEPLITZ_CALL_NS / (images * block * columns)
        elements = TOEPLITZ_NS_PER_ELEMENT * problem.taps * block * matrices / (images * rows)
        best = min(best, ((seen * padded * TOEPLITZ_NS_PER_MAC + calls) * factor + elements, block))
    return best


def onednn(problem: Problem) -> float:
    """Code compiled for the shape; images and results are copied into its layout and out of it."""
    sizes = [problem.kernels, problem.channels] if problem.operation == "grad_input" else [problem.kernels]
    macs: float = problem.macs
    if problem.groups > 1:  # groups fill whole blocks together, or it does not fit
        sizes = [problem.groups] if problem.is_depthwise else []
    for size in sizes:
        macs *= -(-size // BLOCK_CHANNELS) * BLOCK_CHANNELS / size
    weight, pointwise_kernel = problem.operation == "grad_weight", problem.window.kernel == (1, 1)
    rate = ONEDNN_NS_PER_WEIGHT_MAC if weight else ONEDNN_NS_PER_MAC
    rate = ONEDNN_NS_PER_POINTWISE_MAC if pointwise_kernel else rate
    small = weight or pointwise_kernel or problem.is_depthwise
    element = ONEDNN_NS_PER_SMALL_ELEMENT if small else ONEDNN_NS_PER_ELEMENT
    moved = (problem.x_elements + problem.y_elements) * element + weight * prod(problem.weight) * ONEDNN_NS_PER_WEIGHT
    return ONEDNN_START_NS + moved + macs * rate


# Ways of a GPU. Moving and computing overlap, so the longer of the two counts. A result of r × c elements, each a sum of t
# products, takes 2 · r · c · t operations, r and c rounded up to whole tiles:
#
#     forward      r = O/G,  c = places,  t = C/G · kh · kw      for each image and group (implicit_gemm: all images at once)
#     grad_input   r = C/G · kh · kw,  c = places,  t = O/G      implicit_gemm: r = C/G, c = pixels, t = O/G · kh · kw / stride²
#     grad_weight  r = O/G,  c = C/G · kh · kw,  t = images · places


def gpu_pointwise(problem: Problem) -> float:
    """cuBLAS; four launches, with three for the pointers to the matrices of a stack."""
    moved = _moved(problem)
    if problem.operation == "grad_weight":  # images transposed; products, and their sum
        moved += 2 * problem.itemsize * (problem.x_elements + problem.images * prod(problem.weight))
    return max(moved / GPU_MEMORY_GB_PER_S, _library_ns(problem)) + 4 * GPU_LAUNCH_NS


def gpu_im2col(problem: Problem) -> float:
    """cuBLAS; the columns are written and read, and in `grad_weight` the gradient is transposed."""
    columns, weight = problem.itemsize * problem.column_elements, problem.operation == "grad_weight"
    launches = -(-columns // problem.device.workspace_bytes) * (2 + problem.groups if weight else 5)
    moved = _moved(problem) + 2 * columns + weight * 2 * problem.itemsize * problem.y_elements
    return max(moved / GPU_MEMORY_GB_PER_S, _library_ns(problem)) + launches * GPU_LAUNCH_NS


def gpu_implicit_gemm(problem: Problem) -> float:
    """Our kernel reads columns from the cache, once for each tile of rows; with few tiles, a part of the GPU is idle."""
    item, n, groups, channels, kernels = problem.itemsize, problem.images, problem.groups, problem.channels, problem.kernels
    taps, pixels, places = problem.taps, prod(problem.size), prod(problem.places)
    columns, again = item * problem.column_elements, item * problem.y_elements * taps
    rows, across, terms, read = {
        "forward": (kernels, n * places, channels * taps, columns),
        "grad_input": (channels, n * pixels, max(kernels * taps // prod(problem.window.stride), 1), again),
        "grad_weight": (kernels, channels * taps, n * places, columns),
    }[problem.operation]
    weight = problem.operation == "grad_weight"
    tile = (64, 64) if weight else implicit_gemm.TILES[implicit_gemm.tile(rows)]
    down, right = -(-rows // tile[0]), -(-across // tile[1])
    blocks = implicit_gemm.BUSY_BLOCKS if weight else down * right * groups  # long sums are cut into shares
    work = 2 * groups * down * tile[0] * right * tile[1] * terms
    rate = GPU_PLAIN_GFLOPS[problem.dtype] * OUR_SHARE * min(1, blocks / implicit_gemm.BUSY_BLOCKS)
    moving = max(_moved(problem) / GPU_MEMORY_GB_PER_S, down * read / GPU_CACHE_GB_PER_S)
    return max(moving, work / rate) + GPU_LAUNCH_NS * (2 if weight else 1)


def gpu_depthwise(problem: Problem) -> float:
    """Our kernel reads each element once."""
    work = 2 * problem.macs / (GPU_PLAIN_GFLOPS[problem.dtype] * OUR_SHARE)
    return max(_moved(problem) / GPU_MEMORY_GB_PER_S, work) + GPU_LAUNCH_NS


def gpu_cudnn(problem: Problem) -> float:
    """cuDNN has engines without columns for most shapes; depthwise ones are products of a single row."""
    work = 2 * problem.macs * (LIBRARY_TILE_ROWS if problem.is_depthwise else 1) / _library_gflops(problem)
    return max(_moved(problem) / GPU_MEMORY_GB_PER_S, work) + GPU_LAUNCH_NS


def _moved(problem: Problem) -> int:
    """Bytes of images, results and weights, each moved once."""
    return problem.itemsize * (problem.x_elements + problem.y_elements + prod(problem.weight))


def _library_ns(problem: Problem) -> float:
    """The matrix products, by cuBLAS."""
    n, groups, channels, kernels = problem.images, problem.groups, problem.channels, problem.kernels
    taps, places = problem.taps, prod(problem.places)
    rows, across, terms, stack = {
        "forward": (kernels, places, channels * taps, n * groups),
        "grad_input": (channels * taps, places, kernels, n * groups),
        "grad_weight": (kernels, channels * taps, n * places, groups),
    }[problem.operation]
    tiles = -(-rows // LIBRARY_TILE_ROWS) * -(-across // LIBRARY_TILE_ROWS)
    return 2 * stack * tiles * LIBRARY_TILE_ROWS**2 * terms / _library_gflops(problem)


def _library_gflops(problem: Problem) -> float:
    tf32 = problem.device.tf32 and problem.dtype == "f"
    return (GPU_TF32_GFLOPS if tf32 else GPU_MATRIX_GFLOPS[problem.dtype]) * LIBRARY_SHARE
