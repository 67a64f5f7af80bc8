"""The default device: what goes there, what stays where it is, and whose default it is."""

import copy
import pickle
import sys
import threading

import numpy as np
import pytest
import strict

import microtensor as mt
from microtensor import nn


@pytest.fixture(autouse=True)
def two(monkeypatch):
    """Two GPUs that are none; the default device is the CPU."""
    cupy = strict.Cupy(2)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    with mt.default_device("cpu"), cupy.cuda.Device(0):
        yield cupy


X = np.ones((2, 3), np.float32)

NEW = {
    "Tensor of numbers": lambda **k: mt.Tensor([1.0, 2.0], **k),
    "Tensor of an array": lambda **k: mt.Tensor(X, **k),
    "tensor of numbers": lambda **k: mt.tensor([1, 2], **k),
    "tensor of an array": lambda **k: mt.tensor(X, **k),
    "as_tensor of numbers": lambda **k: mt.as_tensor([1, 2], **k),
    "as_tensor of an array": lambda **k: mt.as_tensor(X, **k),
    "zeros": lambda **k: mt.zeros(2, 3, **k),
    "ones": lambda **k: mt.ones(2, 3, **k),
    "empty": lambda **k: mt.empty(2, 3, **k),
    "full": lambda **k: mt.full((2, 3), 7, **k),
    "arange of integers": lambda **k: mt.arange(3, **k),
    "arange": lambda **k: mt.arange(0, 1, 0.1, **k),
    "linspace": lambda **k: mt.linspace(0, 1, 7, **k),
    "eye": lambda **k: mt.eye(2, 3, **k),
    "rand": lambda **k: mt.rand(2, 3, **k),
    "randn": lambda **k: mt.randn(2, 3, **k),
    "normal": lambda **k: mt.normal(1.0, 2.0, (2, 3), **k),
    "randint": lambda **k: mt.randint(10, (2, 3), **k),
    "randperm": lambda **k: mt.randperm(5, **k),
}


@pytest.mark.parametrize("name", NEW)
def test_what_is_new_goes_to_the_default_device_unless_another_is_named(name):
    make = NEW[name]
    mt.manual_seed(0)
    expected = make()
    assert expected.device == "cpu"
    with mt.default_device("cuda:1"):
        mt.manual_seed(0)
        found = make()
        assert make(device="cuda:0").device == "cuda:0"
        assert make(device="cpu").device == "cpu"
    assert (found.device, found.dtype, found.shape) == ("cuda:1", expected.dtype, expected.shape)
    if name != "empty":
        np.testing.assert_array_equal(found.numpy(), expected.numpy())  # the same numbers, bit for bit


HAS_A_PLACE = {
    "Tensor": mt.Tensor,
    "tensor": mt.tensor,
    "as_tensor": mt.as_tensor,
    "Parameter": nn.Parameter,
    "zeros_like": mt.zeros_like,
    "ones_like": mt.ones_like,
    "empty_like": mt.empty_like,
    "full_like": lambda x: mt.full_like(x, 7.0),
    "rand_like": mt.rand_like,
    "randn_like": mt.randn_like,
    "randint_like": lambda x: mt.randint_like(x, 5),
    "bernoulli": mt.bernoulli,
    "an operation with numbers": lambda x: x + 1,
    "an operation with a list": lambda x: x[[0, 1]],
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "detach": mt.Tensor.detach,
}


@pytest.mark.parametrize("name", HAS_A_PLACE)
@pytest.mark.parametrize("device", ["cpu", "cuda:0", "cuda:1"])
@pytest.mark.parametrize("default", ["cpu", "cuda:0", "cuda:1"])
def test_what_has_a_place_stays_there(name, device, default, two):
    x = mt.Tensor(X, device=device)
    two.cuda.Device(0).use()
    with mt.default_device(default):
        assert HAS_A_PLACE[name](x).device == device


def test_memory_that_is_shared_stays(two):
    numbers = np.zeros(2, np.float32)
    with mt.default_device("cuda"):
        x, y = mt.from_numpy(numbers), mt.from_dlpack(numbers)
        assert mt.Tensor(two.asarray(numbers)).device == "cuda:0"
    x[0], y[1] = 1.0, 2.0
    assert numbers.tolist() == [1.0, 2.0]
    assert mt.Tensor(numbers).array is numbers


def test_tensor_copies_wherever_it_is():
    for device in ("cpu", "cuda:0", "cuda:1"):
        x = mt.Tensor(X, device=device)
        y = mt.tensor(x)
        y[0, 0] = 5.0
        assert (x.tolist()[0][0], y.device) == (1.0, device)


def test_files_are_read_to_the_cpu(tmp_path):
    path = tmp_path / "x.npz"
    mt.save(path, {"x": mt.Tensor(X, device="cuda:1")})
    with mt.default_device("cuda"):
        assert mt.load(path)["x"].device == "cpu"


def test_images_and_labels_are_on_one_device():
    images = mt.data.LabelledImages(np.zeros((2, 2, 2), np.uint8), np.array([0, 1]))
    with mt.default_device("cuda:1"):
        assert {x.device for x in images.tensors("cpu")} == {"cpu"}


LAYERS = [
    lambda: nn.Linear(3, 2),
    lambda: nn.Conv2d(3, 4, 3),
    lambda: nn.ConvTranspose2d(3, 4, 3),
    lambda: nn.BatchNorm2d(3),
    lambda: nn.LayerNorm(3),
    lambda: nn.GroupNorm(1, 3),
    lambda: nn.InstanceNorm2d(3, affine=True, track_running_stats=True),
    lambda: nn.Embedding(5, 3, padding_idx=0),
    lambda: nn.PReLU(3),
    lambda: nn.Bilinear(2, 3, 4),
    lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2)),
]


@pytest.mark.parametrize("build", LAYERS)
def test_layers_are_built_on_the_default_device_with_the_same_numbers(build):
    mt.manual_seed(0)
    expected = build().state_dict()
    mt.manual_seed(0)
    with mt.default_device("cuda:1"):
        model = build()
    assert {x.device for x in (*model.parameters(), *model.buffers())} == {"cuda:1"}
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), expected[key].numpy())


def test_a_training_step_needs_no_other_mention_of_the_device():
    def step():
        mt.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
        optimizer = nn.SGD(model.parameters(), lr=0.1, momentum=0.9)
        loss = nn.cross_entropy(model(mt.randn(2, 1, 4, 4)), [0, 2])
        loss.backward()
        optimizer.step()
        return loss.device, [p.numpy() for p in model.parameters()]

    with mt.default_device("cuda"):
        device, ours = step()
    assert device == "cuda:0"
    for a, b in zip(ours, step()[1]):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


# Whose default it is


def test_setting_and_asking():
    assert mt.get_default_device() == "cpu"
    mt.set_default_device("cuda")
    assert (mt.get_default_device(), mt.zeros(1).device) == ("cuda:0", "cuda:0")
    with mt.cuda.device(1):  # "cuda" is the GPU that is current when a tensor is made
        assert (mt.get_default_device(), mt.zeros(1).device) == ("cuda:1", "cuda:1")
    mt.set_default_device("cuda:1")
    assert mt.get_default_device() == "cuda:1"
    mt.set_default_device(None)
    assert (mt.get_default_device(), mt.zeros(1).device) == ("cpu", "cpu")


def test_blocks_nest():
    with mt.default_device("cuda"):
        block = mt.default_device("cuda:1")
        with block, block:
            assert mt.get_default_device() == "cuda:1"
        with mt.default_device("cpu"):
            assert mt.Tensor(X).device == "cpu"
        assert mt.get_default_device() == "cuda:0"
    assert mt.get_default_device() == "cpu"


def test_a_block_ends_with_an_error_too():
    with pytest.raises(KeyError), mt.default_device("cuda"):
        raise KeyError
    assert mt.get_default_device() == "cpu"


def test_a_decorated_function_has_its_default():
    @mt.default_device("cuda:1")
    def make(depth):
        return make(depth - 1) if depth else mt.zeros(1)

    assert (make(2).device, mt.zeros(1).device) == ("cuda:1", "cpu")


def test_each_thread_has_its_own():
    found = []
    with mt.default_device("cuda"):
        thread = threading.Thread(target=lambda: found.append(mt.zeros(1).device))
        thread.start()
        thread.join()
    assert found == ["cpu"]


@pytest.mark.parametrize(
    ("device", "error", "message"),
    [
        ("gpu", ValueError, 'expected "cpu", "cuda" or "cuda:N", got \'gpu\''),
        (0, TypeError, "got 0"),
        ("cuda:7", RuntimeError, 'device "cuda:7": there is no such GPU; CuPy finds "cuda:0", "cuda:1"'),
    ],
)
def test_a_default_that_cannot_be_is_refused(device, error, message):
    with pytest.raises(error, match=message):
        mt.set_default_device(device)
    with pytest.raises(error, match=message), mt.default_device(device):
        pass
    assert mt.get_default_device() == "cpu"


def test_without_cupy_the_default_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(RuntimeError, match="needs CuPy, which is not installed"):
        mt.set_default_device("cuda")
