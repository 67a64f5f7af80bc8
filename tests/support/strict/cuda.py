"""cupy.cuda and cupy.random: what there is of devices and memory, and of random numbers. Streams are in streams.py."""

import threading
import types

import numpy as np

from .array import current, new
from .counts import count
from .names import CLASSES, SPACES, missing
from .streams import Event, Known, Stream, alloc_pinned_memory, everything_is_done, get_current_stream, get_elapsed_time


class Device(Known):
    """A GPU."""

    kind = "cuda.Device"

    def __init__(self, device=None):
        self.id = current.gpu if device is None else int(device)
        self.mem_info = (1 << 33, 1 << 34)
        self.before = []

    def __enter__(self):
        self.before.append(current.gpu)
        current.gpu = self.id
        return self

    def __exit__(self, *error):
        current.gpu = self.before.pop()

    def __int__(self):
        return self.id

    def __eq__(self, other):
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self):
        return hash(self.id)

    def use(self):
        current.gpu = self.id
        return self

    def synchronize(self):
        count("synchronize", waits=1)
        everything_is_done()


class MemoryPool(Known):
    """The memory that CuPy keeps."""

    kind = "cuda.MemoryPool"

    def used_bytes(self):
        return 0

    def total_bytes(self):
        return 0

    def free_bytes(self):
        return 0

    def free_all_blocks(self, stream=None):
        return None

    def n_free_blocks(self):
        return 0


class PinnedMemoryPool(Known):
    """Memory of the host that a GPU reads by itself."""

    kind = "cuda.PinnedMemoryPool"

    def n_free_blocks(self):
        return 0

    def free_all_blocks(self):
        return None


class Cublas(threading.local):
    """cupy.cuda.cublas: how products are to be computed, by handle. Each thread has handles of its own, one for each GPU."""

    CUBLAS_DEFAULT_MATH, CUBLAS_TENSOR_OP_MATH = 0, 1

    def __init__(self):
        self.modes = {}

    def __getattr__(self, name):
        if name in SPACES["cuda.cublas"]:
            raise NotImplementedError(f"cupy.cuda.cublas.{name}: CuPy has it, the stand-in does not")
        raise missing(f"cuda.cublas.{name}")

    def setMathMode(self, handle, mode):
        if handle != 1 + current.gpu or mode not in (0, 1, 2, 3):
            raise ValueError(f"CUBLAS_STATUS_INVALID_VALUE: handle {handle} on GPU {current.gpu}, mode {mode}")
        self.modes[handle] = mode

    def getMathMode(self, handle):
        return self.modes.get(handle, 0)


cublas = Cublas()
memory_pool, pinned_memory_pool = MemoryPool(), PinnedMemoryPool()


class Cuda(types.ModuleType):
    """cupy.cuda, of a machine with so many GPUs."""

    Device, Event, Stream = Device, Event, Stream
    MemoryPool, PinnedMemoryPool = MemoryPool, PinnedMemoryPool
    alloc_pinned_memory = staticmethod(alloc_pinned_memory)
    cublas = cublas
    get_cublas_handle = staticmethod(lambda: 1 + current.gpu)
    get_device_id = staticmethod(lambda: current.gpu)
    get_current_stream = staticmethod(get_current_stream)
    get_elapsed_time = staticmethod(get_elapsed_time)

    def __init__(self, gpus):
        super().__init__("cupy.cuda")
        self.is_available = lambda: gpus > 0
        self.nvrtc = types.SimpleNamespace(getVersion=lambda: (12, 9))
        self.runtime = types.SimpleNamespace(
            CUDARuntimeError=RuntimeError,
            getDeviceCount=lambda: gpus,
            getDevice=lambda: current.gpu,
            setDevice=lambda gpu: Device(gpu).use(),
            runtimeGetVersion=lambda: 12090,
            driverGetVersion=lambda: 12090,
            getDeviceProperties=lambda gpu: {"name": b"a stand-in", "totalGlobalMem": 1 << 34, "multiProcessorCount": 1},
            deviceSynchronize=lambda: count("synchronize", waits=1),
        )

    def __getattr__(self, name):
        if name in SPACES["cuda"]:
            raise NotImplementedError(f"cupy.cuda.{name}: CuPy has it, the stand-in does not")
        raise missing(f"cuda.{name}")


class Generator(Known):
    """cupy.random.default_rng(): fewer distributions than NumPy's, and other numbers from the same seed."""

    kind = "random.Generator"

    def __init__(self, seed=None):
        self._numpy = np.random.default_rng(None if seed is None else seed + 1)

    def __getattr__(self, name):
        if name not in CLASSES["random.Generator"]:
            raise missing(f"random.Generator.{name}")
        draw = getattr(self._numpy, name)

        def call(*args, **settings):
            count(name, kernels=1)
            return new(np.asarray(draw(*args, **settings)))

        return call


class Random(types.ModuleType):
    """cupy.random."""

    Generator = Generator
    default_rng = staticmethod(Generator)

    def __getattr__(self, name):
        if name in SPACES["random"]:
            raise NotImplementedError(f"cupy.random.{name}: CuPy has it, the stand-in does not")
        raise missing(f"random.{name}")
