"""What a thread chooses for GPUs: TF32, and the memory of convolutions."""

import sys
import threading

import numpy as np
import pytest
import strict

import microtensor as mt


@pytest.fixture
def two(monkeypatch):
    """Two GPUs that are none."""
    cupy = strict.Cupy(2)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    with mt.default_device("cpu"), mt.cuda.device(0):
        yield cupy
        mt.cuda.set_allow_tf32(False)


def modes(cupy):
    """How each GPU's products are computed, in this thread."""
    found = []
    for gpu in range(2):
        with cupy.cuda.Device(gpu):
            found.append(cupy.cuda.cublas.getMathMode(cupy.cuda.get_cublas_handle()))
    return found


def test_tf32_is_off_until_it_is_allowed(two):
    assert not mt.cuda.get_allow_tf32()
    assert modes(two) == [0, 0]
    mt.cuda.set_allow_tf32(True)
    assert mt.cuda.get_allow_tf32()
    assert modes(two) == [3, 3]
    mt.cuda.set_allow_tf32(False)
    assert not mt.cuda.get_allow_tf32()
    assert modes(two) == [0, 0]
    assert mt.cuda.current_device() == two.cuda.runtime.getDevice() == 0


def test_tf32_inside_a_block_and_a_function(two):
    @mt.cuda.allow_tf32()
    def inside():
        return mt.cuda.get_allow_tf32(), modes(two)

    assert inside() == (True, [3, 3])
    assert modes(two) == [0, 0]
    with mt.cuda.allow_tf32():
        with pytest.raises(KeyError, match="True"), mt.cuda.allow_tf32(False):
            raise KeyError(modes(two) == [0, 0])
        assert modes(two) == [3, 3]
    assert modes(two) == [0, 0]
    assert not mt.cuda.get_allow_tf32()


def test_each_thread_chooses_for_itself(two):
    found = []
    with mt.cuda.allow_tf32(), mt.cuda.convolution_workspace(5):
        thread = threading.Thread(
            target=lambda: found.extend([mt.cuda.get_allow_tf32(), modes(two), mt.cuda.get_convolution_workspace()])
        )
        thread.start()
        thread.join()
    assert found == [False, [0, 0], 1 << 28]


def test_without_a_gpu_there_is_nothing_to_set(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with mt.cuda.allow_tf32():
        assert mt.cuda.get_allow_tf32()
    assert not mt.cuda.get_allow_tf32()


def test_the_workspace(two):
    usual = mt.cuda.get_convolution_workspace()
    assert usual == 256 * 1024**2
    with mt.cuda.convolution_workspace(1 << 20):
        assert mt.cuda.get_convolution_workspace() == 1 << 20
    mt.cuda.set_convolution_workspace(3)
    assert mt.cuda.get_convolution_workspace() == 3
    mt.cuda.set_convolution_workspace(usual)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mt.cuda.set_allow_tf32(1), TypeError, r"set_allow_tf32: expected True or False, got 1 \(int\)"),
        (lambda: mt.cuda.allow_tf32("yes").__enter__(), TypeError, r"expected True or False, got 'yes' \(str\)"),
        (lambda: mt.cuda.set_convolution_workspace(1.5), TypeError, "nbytes must be an integer, got 1.5"),
        (lambda: mt.cuda.set_convolution_workspace(0), ValueError, "nbytes must be at least 1, got 0"),
        (lambda: mt.cuda.convolution_workspace(-1).__enter__(), ValueError, "nbytes must be at least 1, got -1"),
    ],
)
def test_wrong_settings_are_refused(two, call, error, message):
    with pytest.raises(error, match=message):
        call()
    assert modes(two) == [0, 0]
    assert mt.cuda.get_convolution_workspace() == 1 << 28


def test_on_a_gpu_products_are_rounded_as_it_says():
    """The one test of this file that needs a GPU: 1 + 2^-12 is 1 in TF32."""
    cupy = sys.modules.get("cupy")
    if not isinstance(cupy, type(sys)) or isinstance(cupy, strict.Cupy) or not mt.cuda.is_available():
        pytest.skip("needs a GPU")
    if int(cupy.cuda.Device().compute_capability) < 80:
        pytest.skip("needs a GPU of compute capability 8.0")
    number = float(np.float32(1 + 2**-12))
    for shape in ((64, 64), (3, 64, 64)):
        x, one = mt.full(shape, number, device="cuda"), mt.ones(*shape, device="cuda")
        exact, rounded = 64 * number, 64.0
        assert float((x @ one).max()) == exact
        with mt.cuda.allow_tf32():
            assert float((x @ one).max()) == rounded
        assert float((x @ one).max()) == exact
