"""microtensor.cuda: which GPUs there are, which one "cuda" means, and what they hold."""

import inspect
import sys
import threading

import numpy as np
import pytest
import strict

import microtensor as mt


@pytest.fixture
def two(monkeypatch):
    """Two GPUs that are none, of which the first is the current one."""
    cupy = strict.Cupy(2)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    with mt.default_device("cpu"), mt.cuda.device(0):
        yield cupy


@pytest.fixture
def none(monkeypatch):
    """No CuPy."""
    monkeypatch.setitem(sys.modules, "cupy", None)


def test_which_gpus_there_are(two):
    assert mt.cuda.is_available()
    assert mt.cuda.device_count() == 2
    assert mt.cuda.current_device() == 0
    assert mt.cuda.get_device_name() == "a stand-in"
    assert mt.cuda.get_device_name(1) == mt.cuda.get_device_name("cuda:1") == "a stand-in"


def test_which_gpu_cuda_means(two):
    with mt.cuda.device(1):
        x = mt.Tensor([1.0], device="cuda")
        assert (x.device, mt.cuda.current_device()) == ("cuda:1", 1)
        assert mt.Tensor([1.0]).cuda().device == mt.Tensor([1.0]).to("cuda").device == "cuda:1"
        with mt.cuda.device("cuda:0"):
            assert mt.zeros(1, device="cuda").device == "cuda:0"
        assert mt.cuda.current_device() == 1
        mt.zeros(1, device="cuda:0") + 1  # an operation elsewhere changes nothing of that
        assert mt.zeros(1, device="cuda").device == "cuda:1"
    assert mt.cuda.current_device() == two.cuda.runtime.getDevice() == 0
    mt.cuda.set_device(1)
    assert mt.cuda.current_device() == two.cuda.runtime.getDevice() == 1
    assert mt.zeros(1, device="cuda").device == "cuda:1"


def test_a_block_ends_with_an_error_too(two):
    with pytest.raises(KeyError), mt.cuda.device(1):
        raise KeyError
    assert mt.cuda.current_device() == two.cuda.runtime.getDevice() == 0


def test_a_decorated_function_runs_on_its_gpu(two):
    @mt.cuda.device(1)
    def make():
        return mt.zeros(1, device="cuda")

    assert (make().device, mt.cuda.current_device()) == ("cuda:1", 0)


def test_each_thread_has_its_own_gpu(two):
    found = []
    with mt.cuda.device(1):
        thread = threading.Thread(target=lambda: found.append(mt.zeros(1, device="cuda").device))
        thread.start()
        thread.join()
    assert found == ["cuda:0"]


def test_waiting(two):
    with strict.counting() as counts:
        mt.cuda.synchronize()
        mt.cuda.synchronize("cuda:1")
    assert counts.waits == 2


def test_memory(two, monkeypatch):
    """Each number is asked of the pool with its GPU current, for a pool has one answer per GPU."""
    asked, current = [], two.cuda.runtime.getDevice

    class Pool:
        def used_bytes(self):
            asked.append(current())
            return 100 + current()

        def total_bytes(self):
            return 200 + current()

        def free_all_blocks(self):
            asked.append(current())

    monkeypatch.setattr(two, "get_default_memory_pool", Pool)
    monkeypatch.setattr(two, "get_default_pinned_memory_pool", Pool)
    assert [mt.cuda.memory_allocated(), mt.cuda.memory_allocated(1), mt.cuda.memory_reserved("cuda:1")] == [100, 101, 201]
    assert asked == [0, 1]
    mt.cuda.empty_cache()
    assert asked == [0, 1, 0, 0, 1, 1]
    assert mt.cuda.current_device() == 0


def test_the_seed_is_the_one_of_all_devices(two):
    mt.cuda.manual_seed(3)
    x = mt.rand(3, device="cuda")
    mt.manual_seed(3)
    np.testing.assert_array_equal(x.numpy(), mt.rand(3).numpy())
    mt.cuda.manual_seed_all(3)
    np.testing.assert_array_equal(x.numpy(), mt.rand(3).numpy())


def test_without_cupy(none):
    assert not mt.cuda.is_available()
    assert mt.cuda.device_count() == mt.cuda.memory_allocated() == mt.cuda.memory_reserved() == 0
    mt.cuda.empty_cache()
    mt.cuda.manual_seed(0)
    for function in (mt.cuda.current_device, mt.cuda.synchronize, mt.cuda.get_device_name):
        with pytest.raises(RuntimeError, match="needs CuPy, which is not installed"):
            function()
    with pytest.raises(RuntimeError, match="needs CuPy"):
        mt.cuda.set_device(0)
    block = mt.cuda.device(0)  # so that a function can be decorated where there is no GPU
    with pytest.raises(RuntimeError, match="needs CuPy"), block:
        pass


@pytest.mark.parametrize(
    ("gpu", "error", "message"),
    [
        (-1, TypeError, "got -1"),
        (True, TypeError, "got True"),
        (0.5, TypeError, "got 0.5"),
        ("cpu", ValueError, 'expected a GPU, "cuda", "cuda:N" or its number, got \'cpu\''),
        ("gpu", ValueError, "got 'gpu'"),
        (2, RuntimeError, 'device "cuda:2": there is no such GPU'),
    ],
)
@pytest.mark.parametrize(
    "name", ["synchronize", "get_device_name", "memory_allocated", "memory_reserved", "set_device", "device"]
)
def test_what_is_no_gpu_is_refused(two, name, gpu, error, message):
    use = (lambda: mt.cuda.device(gpu).__enter__()) if name == "device" else (lambda: getattr(mt.cuda, name)(gpu))
    with pytest.raises(error, match=message):
        use()
    assert mt.cuda.current_device() == 0


def test_signatures_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    for name, value in vars(mt.cuda).items():
        if inspect.isfunction(value) and value.__module__ == "microtensor.cuda" and not name.startswith("_"):
            theirs, ours = inspect.signature(getattr(torch.cuda, name)), inspect.signature(value)
            assert list(theirs.parameters) == list(ours.parameters), name
    for name in ("set_default_device", "get_default_device"):
        theirs, ours = inspect.signature(getattr(torch, name)), inspect.signature(getattr(mt, name))
        assert list(theirs.parameters) == list(ours.parameters), name
