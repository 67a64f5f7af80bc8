"""Devices: names, moves, errors in words; and one code path, held against a stand-in for CuPy."""

import sys

import numpy as np
import pytest
import stand_in

import microtensor as mt
from microtensor import backend, models, nn, saliency


@pytest.fixture
def cuda(monkeypatch):
    """A device "cuda" that is none."""
    monkeypatch.setitem(sys.modules, "cupy", stand_in.cupy)


def test_device_names():
    assert backend.parse_device("cuda") == "cuda:0"
    assert backend.parse_device("cuda:3") == "cuda:3"
    assert mt.Tensor([1.0]).device == "cpu"


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cpu:0", ""])
def test_unknown_devices_are_refused(name):
    with pytest.raises(ValueError, match='expected "cpu", "cuda" or "cuda:N"'):
        backend.parse_device(name)
    with pytest.raises(TypeError, match="got 0"):
        backend.parse_device(0)


def test_without_cupy_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(RuntimeError, match=r'pip install "microtensor\[cuda12\]"'):
        mt.Tensor([1.0]).to("cuda")
    assert not backend.is_available()


def test_a_gpu_that_is_not_there_is_refused(cuda):
    with pytest.raises(RuntimeError, match='device "cuda:5": CuPy finds 1 GPUs'):
        mt.Tensor([1.0], device="cuda:5")


def test_mixed_devices_are_refused(cuda):
    x, y = mt.Tensor([1.0, 2.0]), mt.Tensor([[1.0]], device="cuda")
    with pytest.raises(
        ValueError, match=r"add: one tensor \(2,\) is on cpu, another \(1, 1\) on cuda:0; move one: \.to\('cpu'\)"
    ):
        x + y
    with pytest.raises(ValueError, match="_conv2d|conv2d"):
        nn.conv2d(mt.Tensor(np.ones((1, 1, 2, 2))), mt.Tensor(np.ones((1, 1, 1, 1)), device="cuda"))


def test_moving_there_and_back_is_differentiable(cuda):
    x = mt.Tensor([1.0, 2.0], requires_grad=True)
    y = x.to("cuda")
    assert y.device == "cuda:0"
    assert y.to("cuda:0") is y
    (y * y).sum().backward()
    assert x.grad.device == "cpu"
    np.testing.assert_array_equal(x.grad.numpy(), [2.0, 4.0])


def test_a_training_step_on_the_device_equals_one_on_the_cpu(cuda):
    images = np.random.default_rng(0).standard_normal((4, 1, 28, 28)).astype(np.float32)

    def step(device):
        mt.manual_seed(0)
        model = models.lenet5().to(device)
        optimizer = nn.Adam(model.parameters())
        nn.cross_entropy(model(mt.Tensor(images, device=device)), [3, 1, 4, 1]).backward()
        optimizer.step()
        assert {p.device for p in model.parameters()} == {device}
        return [p.numpy() for p in model.parameters()], saliency.gradient(model, mt.Tensor(images, device=device)).numpy()

    (ours, map_), (expected, expected_map) = step("cuda:0"), step("cpu")
    for a, b in zip(ours, expected):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(map_, expected_map)
