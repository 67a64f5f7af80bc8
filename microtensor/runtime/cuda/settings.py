"""Settings for GPUs, each thread's own: TF32 for matrix products, cuDNN for convolutions, and the workspace of a convolution.

`microtensor.cuda` has them. Each has a function that sets it, one that returns it, and a context manager, also a decorator.
"""

from __future__ import annotations

import threading

from ...runtime.integers import as_integer
from ..arrays import gpu_count, on
from ..scoped import FunctionSetting
from ..text import kind_of


class Settings(threading.local):
    """The values of each thread."""

    tf32 = False
    cudnn = True
    workspace = 1 << 28


settings = Settings()

USUAL_MATH, TF32_MATH = 0, 3
"""Math modes of cuBLAS: CUBLAS_DEFAULT_MATH and CUBLAS_TF32_TENSOR_OP_MATH of NVIDIA's cublas_api.h. CuPy has no name for the
second."""


def set_allow_tf32(allowed: bool) -> None:
    """Set whether matrix products of float32 may be computed in TF32, in this thread. Off at the start.

    TF32 rounds each factor to 10 bits of mantissa, where float32 has 23, and adds up in float32: the relative error of a
    product is up to 1e-3, and matrix products are several times as fast, on GPUs of compute capability 8.0 or later; on others
    nothing changes. It applies to cuBLAS, that is `@` and what is made of it, and to convolutions by matrix products or by
    cuDNN. The kernels of this package never use it.

    It is off where PyTorch has it off, for products (`torch.backends.cuda.matmul.allow_tf32`), and for convolutions too, for
    which PyTorch has it on. CuPy has a handle to cuBLAS for each thread and GPU; this sets the mode of those of this thread,
    for all GPUs. (CuPy's own environment variable CUPY_TF32=1 applies to products of two matrices, not to batched ones, in the
    whole process; it is not changed here.)

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
    """Set whether convolutions on a GPU may be computed by NVIDIA's cuDNN, in this thread. On at the start.

    It is used if `nvidia-cudnn-frontend` is installed (the extra `cudnn`) and gives the results of our own kernels for some
    small convolutions, which is tested at the first convolution. Otherwise nothing changes.

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
    """Set how many bytes a convolution on a GPU has for im2col, in this thread: 256 MiB at the start.

    A convolution by a matrix product first unfolds its images (im2col), as many at a time as the workspace holds: a larger one
    gives fewer and larger products. The smallest part is unfolded even if it is larger than the workspace.

    Raises:
        TypeError: it is no integer.
        ValueError: it is below 1.
    """
    settings.workspace = as_integer("set_convolution_workspace", "nbytes", nbytes, least=1)


def get_convolution_workspace() -> int:
    """The bytes that a convolution on a GPU has for im2col, in this thread.

    >>> get_convolution_workspace() == 256 * 1024**2
    True
    """
    return settings.workspace


class convolution_workspace(FunctionSetting):
    """Inside, or in the function that it decorates, a convolution on a GPU has this many bytes for im2col.

    Raises:
        TypeError, ValueError: as `set_convolution_workspace`; on entry.

    >>> with convolution_workspace(1 << 30):
    ...     get_convolution_workspace() == 1024**3
    True
    """

    def __init__(self, nbytes: int) -> None:
        super().__init__(get_convolution_workspace, set_convolution_workspace, nbytes)
