"""What each thread can choose for GPUs: whether products may be TF32; whether cuDNN may convolve, and in how much memory.

They are part of `microtensor.cuda`. Each has a function that sets it from now on, one that tells it, and a context manager,
which is a decorator too, in which it holds.
"""

from __future__ import annotations

import threading

from ...runtime.integers import as_integer
from ..arrays import gpu_count, on
from ..scoped import FunctionSetting
from ..text import kind_of


class Settings(threading.local):
    """What each thread has set."""

    tf32 = False
    cudnn = True
    workspace = 1 << 28


settings = Settings()

USUAL_MATH, TF32_MATH = 0, 3
"""How cuBLAS is to multiply: CUBLAS_DEFAULT_MATH and CUBLAS_TF32_TENSOR_OP_MATH of NVIDIA's cublas_api.h. CuPy has no name for
the second."""


def set_allow_tf32(allowed: bool) -> None:
    """From now on, in this thread, matrix products of float32 may be computed in TF32, or not. At the start they may not.

    TF32 keeps 10 bits after the point of each factor where float32 has 23, and adds up in float32: each product is off by up to
    1e-3 of itself, and matrices are multiplied several times as fast, on GPUs of compute capability 8.0 or later; others go on
    as before. It concerns what CuPy gives to cuBLAS: `@` and all that is made of it, and convolutions, where they are computed
    by matrix products or by cuDNN. Our own kernels never use it.

    It is off where PyTorch has it off, for products (`torch.backends.cuda.matmul.allow_tf32`), and for convolutions too, for
    which PyTorch has it on. CuPy has a handle to cuBLAS for each thread and GPU: it is set for all GPUs, in this thread. (The
    environment variable CUPY_TF32=1 is CuPy's own way; it concerns products of two matrices, but not of stacks of them, in the
    whole process, and is not undone here.)

    Raises:
        TypeError: it is neither True nor False.
    """
    if not isinstance(allowed, bool):
        raise TypeError(f"set_allow_tf32: expected True or False, got {allowed!r} ({kind_of(allowed)})")
    for index in range(gpu_count()):
        with on(f"cuda:{index}") as xp:
            xp.cuda.cublas.setMathMode(xp.cuda.get_cublas_handle(), TF32_MATH if allowed else USUAL_MATH)
    settings.tf32 = allowed


def get_allow_tf32() -> bool:
    """Whether products of float32 may be computed in TF32 in this thread.

    >>> get_allow_tf32()
    False
    """
    return settings.tf32


class allow_tf32(FunctionSetting):
    """Inside, or in the function that it decorates, products of float32 may be computed in TF32, or not: see `set_allow_tf32`.

    Raises:
        TypeError: `allowed` is neither True nor False; on entry.

    >>> with allow_tf32():
    ...     get_allow_tf32()
    True
    """

    def __init__(self, allowed: bool = True) -> None:
        super().__init__(get_allow_tf32, set_allow_tf32, allowed)


def set_allow_cudnn(allowed: bool) -> None:
    """From now on, in this thread, convolutions on a GPU may be computed by NVIDIA's cuDNN, or not. At the start they may.

    It is used where `nvidia-cudnn-frontend` is installed (the extra `cudnn`) and computes some small convolutions as our own
    kernels do, which is tried at the first convolution. Otherwise nothing changes.

    Raises:
        TypeError: it is neither True nor False.
    """
    if not isinstance(allowed, bool):
        raise TypeError(f"set_allow_cudnn: expected True or False, got {allowed!r} ({kind_of(allowed)})")
    settings.cudnn = allowed


def get_allow_cudnn() -> bool:
    """Whether convolutions on a GPU may be computed by cuDNN in this thread.

    >>> get_allow_cudnn()
    True
    """
    return settings.cudnn


class allow_cudnn(FunctionSetting):
    """Inside, or in the function that it decorates, convolutions on a GPU may be computed by cuDNN, or not.

    Raises:
        TypeError: `allowed` is neither True nor False; on entry.

    >>> with allow_cudnn(False):
    ...     get_allow_cudnn()
    False
    """

    def __init__(self, allowed: bool = True) -> None:
        super().__init__(get_allow_cudnn, set_allow_cudnn, allowed)


def set_convolution_workspace(nbytes: int) -> None:
    """From now on, in this thread, a convolution on a GPU has so many bytes for its columns: 256 MiB at the start.

    Where a convolution is computed by a matrix product, its images are first unfolded: as many at a time as there is room for.
    A larger workspace means fewer and larger products. What does not fit even singly, a column, or a channel's, is made all the
    same.

    Raises:
        TypeError: it is no integer.
        ValueError: it is below 1.
    """
    settings.workspace = as_integer("set_convolution_workspace", "nbytes", nbytes, least=1)


def get_convolution_workspace() -> int:
    """The bytes that a convolution on a GPU has for its columns, in this thread.

    >>> get_convolution_workspace() == 256 * 1024**2
    True
    """
    return settings.workspace


class convolution_workspace(FunctionSetting):
    """Inside, or in the function that it decorates, a convolution on a GPU has so many bytes for its columns.

    Raises:
        TypeError, ValueError: as `set_convolution_workspace`; on entry.

    >>> with convolution_workspace(1 << 30):
    ...     get_convolution_workspace() == 1024**3
    True
    """

    def __init__(self, nbytes: int) -> None:
        super().__init__(get_convolution_workspace, set_convolution_workspace, nbytes)
