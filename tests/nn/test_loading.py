"""Loading states of other libraries; what a state must be is in test_module.py."""

import numpy as np
import pytest

from microtensor.io.placeholder import Placeholder
from microtensor.nn.layers.linear import Linear
from microtensor.nn.module import Buffer, Module


class Foreign:
    """A tensor of another library, which needs to be detached and fetched before NumPy can read it."""

    def __init__(self, array, ready=()):
        self.array, self.ready = array, ready

    def detach(self):
        return Foreign(self.array, (*self.ready, "detached"))

    def cpu(self):
        return Foreign(self.array, (*self.ready, "fetched"))

    def __array__(self, dtype=None, copy=None):
        if self.ready != ("detached", "fetched"):
            raise RuntimeError("not ready")
        if self.array is None:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.array


def test_other_tensors_are_detached_fetched_and_read():
    net = Linear(2, 1)
    net.load_state_dict({"weight": Foreign(np.array([[1.0, 2.0]])), "bias": Foreign(np.array([3.0]))})
    np.testing.assert_array_equal(net.weight.numpy(), [[1, 2]])
    assert net.weight.dtype == np.float32


def test_what_numpy_cannot_read_is_an_error_in_words():
    with pytest.raises(TypeError, match="load_state_dict: NumPy cannot read weight, a Foreign: Got unsupported ScalarType"):
        Linear(2, 1).load_state_dict({"weight": Foreign(None), "bias": np.zeros(1)})


def test_pytorchs_tensors_load_as_they_are():
    torch = pytest.importorskip("torch")
    theirs, ours = torch.nn.Linear(3, 2), Linear(3, 2)
    for state in (theirs.state_dict(), dict(theirs.named_parameters())):  # the second require a gradient
        ours.load_state_dict(state)
        np.testing.assert_array_equal(ours.weight.numpy(), theirs.weight.detach().numpy())
    with pytest.raises(TypeError, match="NumPy cannot read weight, a Tensor"):
        ours.load_state_dict(theirs.bfloat16().state_dict())


def test_what_is_not_saved_is_not_missed():
    class Table(Module):
        def __init__(self):
            self.kept, self.made = Buffer(np.zeros(1)), Buffer(np.ones(1), persistent=False)

    net = Table()
    assert list(net.state_dict()) == ["kept"]
    assert net.load_state_dict({"kept": np.array([2.0])}) == ([], [])
    with pytest.raises(ValueError, match="unexpected: made"):
        net.load_state_dict({"kept": np.array([2.0]), "made": np.array([2.0])})
    assert [name for name, _ in net.named_buffers()] == ["kept", "made"]


def test_what_was_passed_over_is_pytorchs_result():
    net = Linear(2, 2)
    given = {"weight": np.ones((2, 2)), "head.weight": np.ones(3), "epoch": 3}
    found = net.load_state_dict(given, strict=False)
    missing, unexpected = found
    assert (missing, unexpected) == (found.missing_keys, found.unexpected_keys) == (["bias"], ["head.weight", "epoch"])
    assert net.weight.tolist() == [[1, 1], [1, 1]]
    assert repr(found) == "<missing_keys: bias; unexpected_keys: head.weight, epoch>"
    assert repr(net.load_state_dict(net.state_dict())) == "<all names were loaded>"
    torch = pytest.importorskip("torch")
    given = {"weight": torch.ones(2, 2), "head.weight": torch.ones(3), "epoch": 3}
    assert tuple(torch.nn.Linear(2, 2).load_state_dict(given, strict=False)) == (missing, unexpected)


def test_many_names_are_said_in_few_words():
    net = Linear(2, 2)
    with pytest.raises(ValueError, match="missing: weight, bias\n  unexpected: 0, 1, 2 and 97 more") as error:
        net.load_state_dict({str(i): np.ones(2) for i in range(100)})
    assert "strict=False" not in str(error.value)  # with it nothing would be loaded either
    with pytest.raises(ValueError, match="unexpected: x{200}…\n") as error:
        net.load_state_dict({"x" * 10**6: np.ones(2), **net.state_dict()})
    assert len(str(error.value)) < 500


def test_what_was_not_read_is_no_tensor():
    with pytest.raises(TypeError, match="weight must be a Tensor or an array, got <a tensor of complex64, not read>"):
        Linear(2, 1).load_state_dict({"weight": Placeholder("a tensor of complex64"), "bias": np.zeros(1)})


def test_a_prefix_is_put_before_every_name():
    assert list(Linear(1, 1).state_dict(prefix="head.")) == ["head.weight", "head.bias"]
    assert list(Linear(1, 1).state_dict("head.")) == ["head.weight", "head.bias"]


def test_what_is_no_state_is_refused_with_what_to_do():
    net = Linear(2, 1)
    with pytest.raises(TypeError, match=r"as state_dict\(\) gives, got str; read it first: microtensor.load\(path\)"):
        net.load_state_dict("net.npz")
    with pytest.raises(TypeError, match=r"several in a file: load_state_dict\(state\['model'\]\)"):
        net.load_state_dict({"model": net.state_dict(), "epoch": 3})
