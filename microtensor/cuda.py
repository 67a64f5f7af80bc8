"""GPUs: their number, the current one, their memory, synchronization. A small part of `torch.cuda`.

A `device` is the index or the name of a GPU; None is the one that "cuda" means. Without a usable GPU, counts are 0,
`empty_cache` and the seeds do nothing more, and all else raises RuntimeError, which says what was found and what to install.
"""

from __future__ import annotations

from types import ModuleType

from . import random
from .runtime.arrays import chosen, gpu_count, index_of, library, on, parse_gpu
from .runtime.arrays import is_available as is_available
from .runtime.cuda.settings import allow_cudnn as allow_cudnn
from .runtime.cuda.settings import allow_tf32 as allow_tf32
from .runtime.cuda.settings import convolution_workspace as convolution_workspace
from .runtime.cuda.settings import get_allow_cudnn as get_allow_cudnn
from .runtime.cuda.settings import get_allow_tf32 as get_allow_tf32
from .runtime.cuda.settings import get_convolution_workspace as get_convolution_workspace
from .runtime.cuda.settings import set_allow_cudnn as set_allow_cudnn
from .runtime.cuda.settings import set_allow_tf32 as set_allow_tf32
from .runtime.cuda.settings import set_convolution_workspace as set_convolution_workspace
from .runtime.scoped import Block


def device_count() -> int:
    """How many GPUs can be used: 0 also where CuPy is not installed, or does not fit the driver."""
    return gpu_count()


def current_device() -> int:
    """The number of the GPU that "cuda" means in this thread: 0, unless `device` or `set_device` chose another.

    Raises:
        RuntimeError: no GPU can be used.
    """
    library(parse_gpu("current_device", None))
    return chosen.gpu


def set_device(device: int | str) -> None:
    """Let "cuda" mean this GPU, in this thread.

    Raises:
        TypeError, ValueError: it is the number or name of no GPU.
        RuntimeError: it cannot be used.
    """
    xp, index = _gpu("set_device", device)
    xp.cuda.Device(index).use()
    chosen.gpu = index


class device(Block):
    """Inside, or in the function that it decorates, "cuda" means this GPU, in this thread.

        with microtensor.cuda.device(1):
            x = Tensor([1.0, 2.0], device="cuda")  # on "cuda:1"

    Operations on tensors need no such block: they run on the GPU of their tensors, and leave it as CuPy's current device. With
    several GPUs, code of your own on arrays, `x.array`, needs `cupy.cuda.Device(…)`.

    Raises:
        TypeError, ValueError: it is the number or name of no GPU.
        RuntimeError: it cannot be used; on entry.
    """

    def __init__(self, device: int | str) -> None:
        self._name = parse_gpu("device", device)

    def now(self) -> tuple[int, int]:
        """Which GPU "cuda" means, and which is CuPy's current one."""
        return chosen.gpu, library(self._name).cuda.runtime.getDevice()

    def set(self, value: tuple[int, int]) -> None:
        """Set both."""
        library(self._name).cuda.Device(value[1]).use()
        chosen.gpu = value[0]

    def wanted(self, before: tuple[int, int]) -> tuple[int, int]:
        """This GPU, for both."""
        return index_of(self._name), index_of(self._name)


def synchronize(device: int | str | None = None) -> None:
    """Wait until a GPU has done all queued work. Needed for timing only: copies to the host wait anyway.

    Raises:
        TypeError, ValueError: it is the number or name of no GPU.
        RuntimeError: it cannot be used.
    """
    xp, index = _gpu("synchronize", device)
    xp.cuda.Device(index).synchronize()


def get_device_name(device: int | str | None = None) -> str:
    """The name of a GPU: "NVIDIA H200".

    Raises:
        TypeError, ValueError: it is the number or name of no GPU.
        RuntimeError: it cannot be used.
    """
    xp, index = _gpu("get_device_name", device)
    name = xp.cuda.runtime.getDeviceProperties(index)["name"]
    return name.decode() if isinstance(name, bytes) else str(name)


def memory_allocated(device: int | str | None = None) -> int:
    """Bytes of a GPU in use by arrays of this process.

    Raises:
        TypeError, ValueError: it is the number or name of no GPU.
    """
    return _of_pool("memory_allocated", device, "used_bytes")


def memory_reserved(device: int | str | None = None) -> int:
    """Bytes of a GPU that this process has reserved: in use by arrays, or kept in CuPy's memory pool for new ones.

    Raises:
        TypeError, ValueError: it is the number or name of no GPU.
    """
    return _of_pool("memory_reserved", device, "total_bytes")


def empty_cache() -> None:
    """Free the unused memory in CuPy's pools, of all GPUs and of pinned host memory, for other programs."""
    for index in range(gpu_count()):
        with on(f"cuda:{index}") as xp:
            xp.get_default_memory_pool().free_all_blocks()
            xp.get_default_pinned_memory_pool().free_all_blocks()


def manual_seed(seed: int) -> None:
    """The same as `microtensor.manual_seed`: one default generator draws the random numbers of all devices.

    Raises:
        TypeError, ValueError: the seed is no integer, or negative.
    """
    random.manual_seed(seed)


manual_seed_all = manual_seed


def _gpu(name: str, device: int | str | None) -> tuple[ModuleType, int]:
    full = parse_gpu(name, device)
    return library(full), index_of(full)


def _of_pool(name: str, device: int | str | None, count: str) -> int:
    full = parse_gpu(name, device)
    if not gpu_count():
        return 0
    with on(full) as xp:
        return int(getattr(xp.get_default_memory_pool(), count)())
