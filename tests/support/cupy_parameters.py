"""Whether real CuPy passes to a kernel what `microtensor.runtime.cuda.kernels` gives it, asked of CuPy itself, where there is no GPU.

CuPy turns the parameters of a launch into pointers, and only then asks the driver for a GPU. So a launch of no function fails
with an error of the driver's where the parameters are as CuPy wants them, and with a TypeError where they are not.
"""

import sys
import types

import numpy as np
from cupy.cuda.function import Function
from cupy_backends.cuda.api.driver import CUDADriverError
from cupy_backends.cuda.api.runtime import CUDARuntimeError

from microtensor.nn.layers.windows import Window
from microtensor.runtime.cuda.kernels import _parameter
from microtensor.runtime.cuda.multi_tensor import ROWS
from microtensor.runtime.cuda.reduction import lines

PASSED = [None, 3, True, 2.5, np.zeros((), ROWS), lines((4, 5), 1)[0], Window((3, 3)).for_kernels((5, 5), (3, 3))]
REFUSED = [np.zeros(5, np.int64), [1], "a"]
"""As they are: to see that CuPy does refuse something."""


def launched(parameter):
    """The error of a launch with this parameter."""
    function, stream = Function.__new__(Function), types.SimpleNamespace(ptr=0)
    try:
        function((1,), (256,), (parameter,), stream=stream)
    except Exception as error:
        return error
    return None


for argument in PASSED:
    parameter = _parameter("kernel", argument, np.float32)
    error = launched(parameter)
    if not isinstance(error, (CUDARuntimeError, CUDADriverError)):
        sys.exit(f"CuPy does not pass {argument!r} as {parameter!r}: {error!r}")
for argument in REFUSED:
    error = launched(argument)
    if not isinstance(error, TypeError):
        sys.exit(f"CuPy was to refuse {argument!r}: {error!r}")
