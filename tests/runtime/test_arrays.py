"""Devices: names, moves, errors in words; and one code path, held against a stand-in for CuPy."""

import ast
import ctypes
import pathlib
import sys
import types

import numpy as np
import pytest
import strict

import microtensor as mt
from microtensor import models, nn, saliency
from microtensor.runtime import arrays

PACKAGE = pathlib.Path(mt.__file__).parent


@pytest.fixture
def cuda(monkeypatch):
    """A device "cuda" that is none; the default device is the CPU."""
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    with mt.default_device("cpu"):
        yield


@pytest.fixture
def two(monkeypatch):
    """Two GPUs that are none, of which the first is the current one."""
    cupy = strict.Cupy(2)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    with mt.default_device("cpu"), cupy.cuda.Device(0):
        yield cupy


def broken(count, built=12090):
    """A CuPy that does not come to a GPU."""

    def get_device_count():
        if isinstance(count, Exception):
            raise count
        return count

    runtime = types.SimpleNamespace(getDeviceCount=get_device_count, runtimeGetVersion=lambda: built)
    cupy = types.ModuleType("cupy")
    cupy.cuda, cupy.ndarray = types.SimpleNamespace(runtime=runtime), type("ndarray", (), {})
    return cupy


def test_device_names(cuda):
    assert arrays.parse_device("cuda") == "cuda:0"
    assert arrays.parse_device("cuda:3") == "cuda:3"
    assert mt.Tensor([1.0]).device == "cpu"


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "CUDA", ""])
def test_unknown_devices_are_refused(name):
    with pytest.raises(ValueError, match='expected "cpu", "cuda" or "cuda:N"'):
        arrays.parse_device(name)
    with pytest.raises(TypeError, match="got 0"):
        arrays.parse_device(0)


@pytest.mark.parametrize("gpu", ["cuda:1", 1, np.int64(1)])
def test_gpu_names(gpu):
    assert arrays.parse_gpu("cuda", gpu) == "cuda:1"


@pytest.mark.parametrize(
    ("gpu", "error", "message"),
    [
        ("cpu", ValueError, 'cuda: expected a GPU, "cuda", "cuda:N" or its number, got \'cpu\''),
        (-1, TypeError, "got -1"),
        (True, TypeError, "got True"),
        (1.0, TypeError, "got 1.0"),
    ],
)
def test_what_is_no_gpu_is_refused(gpu, error, message):
    with pytest.raises(error, match=message):
        mt.Tensor([1.0]).cuda(gpu)


# What is missing, and what to install


@pytest.mark.parametrize(
    ("driver", "message"),
    [
        (
            0,
            r'needs CuPy, which is not installed; no NVIDIA driver was found here\. Use device "cpu".*pip install "cupy-cuda12x\[ctk\]>=14", or pip install "cupy-cuda13x\[ctk\]>=14", after the',
        ),
        (11080, r"the NVIDIA driver here is for CUDA 11\.8: update it to one for CUDA 12 or later, and pip install"),
        (12040, r'the NVIDIA driver here is for CUDA 12\.4: pip install "cupy-cuda12x\[ctk\]>=14"$'),
        (13010, r'the NVIDIA driver here is for CUDA 13\.1: pip install "cupy-cuda13x\[ctk\]>=14"$'),
        (14000, r'the NVIDIA driver here is for CUDA 14\.0: pip install "cupy-cuda13x\[ctk\]>=14"$'),
    ],
)
def test_without_cupy_the_error_names_the_one_for_the_driver(monkeypatch, driver, message):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr(arrays, "_driver", lambda: driver)
    with pytest.raises(RuntimeError, match=message):
        mt.Tensor([1.0]).to("cuda")
    assert not arrays.is_available()


@pytest.mark.parametrize(
    ("cupy", "driver", "message"),
    [
        (broken(RuntimeError("cudaErrorInsufficientDriver: …")), 0, 'cuda:0": no NVIDIA driver was found here'),
        (
            broken(RuntimeError("cudaErrorInsufficientDriver: …"), built=13000),
            12040,
            r"built for CUDA 13\.0: pip uninstall cupy-cuda13x; the NVIDIA driver here is for CUDA 12\.4: pip install [^;]*$",
        ),
        (
            broken(RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")),
            12090,
            "finds no GPU .cudaErrorNoDevice: no CUDA-capable device is detected.; .*nvidia-smi.*CUDA_VISIBLE_DEVICES leaves of it$",
        ),
        (broken(0), 12090, 'device "cuda:0": there is no such GPU; CuPy finds none'),
    ],
)
def test_a_cupy_that_comes_to_no_gpu_says_why(monkeypatch, cupy, driver, message):
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(arrays, "_driver", lambda: driver)
    with pytest.raises(RuntimeError, match=message):
        mt.Tensor([1.0], device="cuda")
    assert not arrays.is_available()
    assert arrays.gpu_count() == 0


def test_a_cupy_without_its_compiler_names_the_extra(monkeypatch):
    def no_compiler():
        raise RuntimeError('Failure finding "libnvrtc.so.13 or libnvrtc.so.12"')

    cupy = broken(1)
    cupy.cuda.nvrtc = types.SimpleNamespace(getVersion=no_compiler)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    message = r'cuda:0": CuPy finds a GPU, but not NVRTC, .*libnvrtc.so.12.*pip install "cupy-cuda12x\[ctk\]"'
    with pytest.raises(RuntimeError, match=message):
        mt.Tensor([1.0], device="cuda")


def test_a_cupy_that_cannot_be_imported_is_not_one_that_is_missing(monkeypatch, tmp_path):
    (tmp_path / "cupy.py").write_text('raise ImportError("====\\nlibcudart.so.12: cannot open shared object file\\nand more")')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    with pytest.raises(
        RuntimeError, match=r"needs CuPy, which cannot be imported \(libcudart\.so\.12: cannot open shared object"
    ):
        mt.Tensor([1.0], device="cuda")


def test_the_driver_is_asked_without_cupy(monkeypatch):
    def version(place):
        ctypes.cast(place, ctypes.POINTER(ctypes.c_int))[0] = 12040

    monkeypatch.setattr(ctypes, "CDLL", lambda name: types.SimpleNamespace(cuDriverGetVersion=version))
    assert arrays._driver() == 12040

    def absent(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert arrays._driver() == 0


def test_a_gpu_that_is_not_there_is_refused(two):
    with pytest.raises(RuntimeError, match='device "cuda:5": there is no such GPU; CuPy finds "cuda:0", "cuda:1"'):
        mt.Tensor([1.0], device="cuda:5")


def test_only_the_backend_names_cupy():
    for path in PACKAGE.rglob("*.py"):
        if path == PACKAGE / "runtime/arrays.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [getattr(node, key, None) for key in ("id", "attr", "name", "module", "value")]
            assert "cupy" not in names, f"{path}:{node.lineno}"


# Moves


def test_mixed_devices_are_refused(cuda):
    x, y = mt.Tensor([1.0, 2.0]), mt.Tensor([[1.0]], device="cuda")
    with pytest.raises(
        ValueError, match=r"add: one tensor \(2,\) is on cpu, another \(1, 1\) on cuda:0; move one: \.to\('cpu'\)"
    ):
        x + y
    with pytest.raises(ValueError, match="^cat: one tensor"):
        mt.cat([x, y[0]])
    with pytest.raises(ValueError, match="conv2d: one tensor"):
        nn.conv2d(mt.Tensor(np.ones((1, 1, 2, 2))), mt.Tensor(np.ones((1, 1, 1, 1)), device="cuda"))
    with pytest.raises(ValueError, match=r"mse_loss: target is on cuda:0, and not on cpu; move it: \.to\('cpu'\)"):
        nn.mse_loss(x, y[0].broadcast_to(2))
    with pytest.raises(ValueError, match=r"add: one tensor \(2,\) is on cpu, another \(1, 1\) on cuda:0"):
        x += y
    x[:1] = y[0]  # an assignment copies, as in PyTorch
    assert (x.device, x.tolist()) == ("cpu", [1.0, 2.0])


def test_gradients_on_another_device_are_refused(two):
    x = mt.Tensor([1.0, 2.0], device="cuda:0", requires_grad=True)
    other = mt.Tensor([1.0, 2.0], device="cuda:1")
    with pytest.raises(ValueError, match=r"backward: the gradient is float32 \(2,\) on cuda:1, but its output .* on cuda:0"):
        (x * 2).backward(other)
    with pytest.raises(ValueError, match=r"grad: expected it on cuda:0, as its tensor, got cuda:1"):
        x.grad = other
    x.grad = mt.Tensor([1.0, 2.0], device="cuda:0")
    x.grad.array = other.array  # the tensor stays, and goes elsewhere
    for optimizer in (nn.SGD([x], lr=0.1), nn.Adam([x])):
        with pytest.raises(ValueError, match=r"a parameter \(2,\) is on cuda:0, its gradient on cuda:1; move that: p\.grad = "):
            optimizer.step()
    with pytest.raises(
        ValueError, match=r"a \.grad of shape \(2,\) on cuda:1 from before, but its gradient is of shape \(2,\) on cuda:0"
    ):
        (x * 2).sum().backward()


def test_moving_there_and_back_is_differentiable(cuda):
    x = mt.Tensor([1.0, 2.0], requires_grad=True)
    y = x.to("cuda")
    assert y.device == "cuda:0"
    assert y.is_cuda
    assert y.to("cuda:0") is y
    assert y.cuda() is y
    (y * y).sum().backward()
    assert x.grad.device == "cpu"
    np.testing.assert_array_equal(x.grad.numpy(), [2.0, 4.0])
    assert not y.cpu().is_cuda


def test_a_training_step_on_the_device_equals_one_on_the_cpu(cuda):
    images = np.random.default_rng(0).standard_normal((4, 1, 28, 28)).astype(np.float32)
    (ours, map_), (expected, expected_map) = training_step(images, "cuda:0"), training_step(images, "cpu")
    for a, b in zip(ours, expected):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=5e-6)
    np.testing.assert_allclose(map_, expected_map, rtol=1e-5, atol=5e-6)


def training_step(images, device):
    mt.manual_seed(0)
    model = models.lenet5().to(device)
    optimizer = nn.Adam(model.parameters())
    nn.cross_entropy(model(mt.Tensor(images, device=device)), [3, 1, 4, 1]).backward()
    optimizer.step()
    assert {p.device for p in model.parameters()} == {device}
    return [p.numpy() for p in model.parameters()], saliency.gradient(model, mt.Tensor(images, device=device)).numpy()


# Several GPUs


def test_from_one_gpu_to_another(two):
    x = mt.Tensor([1.0, 2.0], device="cuda:1", requires_grad=True)
    y = x.to("cuda:0")
    assert (x.device, y.device, y.tolist()) == ("cuda:1", "cuda:0", [1.0, 2.0])
    (y * 3).sum().backward()
    assert (x.grad.device, x.grad.tolist()) == ("cuda:1", [3.0, 3.0])


def test_operations_run_where_their_tensors_are(two):
    x = mt.Tensor([1.0, 2.0], device="cuda:1", requires_grad=True)
    two.cuda.Device(0).use()
    y = (x * 2 + x).sum()
    assert y.device == "cuda:1"
    two.cuda.Device(0).use()
    y.backward()
    assert x.grad.device == "cuda:1"
    two.cuda.Device(0).use()
    (x * 2).sum().backward()  # adds to the gradient in place
    assert x.grad.tolist() == [5.0, 5.0]
    two.cuda.Device(0).use()
    y = x.detach().clone()
    y[0] = 7.0
    assert 7.0 in y
    assert mt.zeros_like(y).device == "cuda:1"
    two.cuda.Device(0).use()
    assert (y + y.array).tolist() == [14.0, 4.0]


def test_a_gradient_crosses_gpus(two):
    """Two layers on two GPUs; each gradient is where its parameter is."""
    first = mt.Tensor([1.0, 2.0], device="cuda:0", requires_grad=True)
    second = mt.Tensor([3.0, 4.0], device="cuda:1", requires_grad=True)
    middle = first * first
    loss = ((middle + middle).to("cuda:1") * second).sum() + (middle.to("cuda:1") * second * second).sum()
    loss.backward()
    assert (first.grad.device, second.grad.device) == ("cuda:0", "cuda:1")
    np.testing.assert_allclose(first.grad.numpy(), 2 * np.array([1, 2]) * (2 * np.array([3, 4]) + np.array([9, 16])))
    np.testing.assert_allclose(second.grad.numpy(), np.array([1, 4]) * (2 + 2 * np.array([3, 4])))


def test_a_training_step_on_the_second_gpu_equals_one_on_the_cpu(two):
    images = np.random.default_rng(0).standard_normal((4, 1, 28, 28)).astype(np.float32)
    for a, b in zip(training_step(images, "cuda:1")[0], training_step(images, "cpu")[0]):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=5e-6)


def test_parameters_on_two_gpus_are_optimised_clipped_averaged_and_loaded(two):
    """What works on arrays, parameter by parameter, goes from GPU to GPU by itself."""

    def train(devices):
        model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
        for layer, device in zip(model, devices):
            layer.to(device)
        model.load_state_dict({f"{i}.weight": np.float32([[1, 2], [3, 4]]) for i in range(2)})
        average = nn.ExponentialMovingAverage(model, 0.5)
        for p in model.parameters():
            p.grad = mt.Tensor([[3.0, 0.0], [4.0, 1.0]], device=p.device)
        norm = nn.clip_grad_norm_(model.parameters(), 1.0)
        nn.clip_grad_value_(model.parameters(), 0.5)
        for optimizer in (nn.SGD(model.parameters(), lr=0.1, momentum=0.9), nn.Adam(model.parameters())):
            optimizer.step()
            optimizer.step()
        average.update()
        average.copy_to()
        model.to("float64")
        assert [p.device for p in model.parameters()] == list(devices)
        model.load_state_dict(model.state_dict())
        return [norm.numpy(), *(p.numpy() for p in model.parameters())]

    for ours, expected in zip(train(("cuda:1", "cuda:0")), train(("cpu", "cpu"))):
        np.testing.assert_allclose(ours, expected, rtol=1e-6)
