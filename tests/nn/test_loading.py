"""load_state_dict: what it copies, what it refuses, and states of other libraries."""

import numpy as np
import pytest
from small_modules import Net

from microtensor import Tensor
from microtensor.io.placeholder import Placeholder
from microtensor.nn.containers import Sequential
from microtensor.nn.layers.activation import ReLU
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


def test_tensors_of_other_libraries_are_detached_and_copied():
    net = Linear(2, 1)
    net.load_state_dict({"weight": Foreign(np.array([[1.0, 2.0]])), "bias": Foreign(np.array([3.0]))})
    np.testing.assert_array_equal(net.weight.numpy(), [[1, 2]])
    assert net.weight.dtype == np.float32


def test_a_tensor_that_numpy_cannot_read_is_a_type_error():
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


def test_buffers_that_are_not_persistent_are_not_missing():
    class Table(Module):
        def __init__(self):
            self.kept, self.made = Buffer(np.zeros(1)), Buffer(np.ones(1), persistent=False)

    net = Table()
    assert list(net.state_dict()) == ["kept"]
    assert net.load_state_dict({"kept": np.array([2.0])}) == ([], [])
    with pytest.raises(ValueError, match="unexpected: made"):
        net.load_state_dict({"kept": np.array([2.0]), "made": np.array([2.0])})
    assert [name for name, _ in net.named_buffers()] == ["kept", "made"]


def test_skipped_names_are_pytorchs():
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


def test_a_message_lists_only_the_first_names():
    net = Linear(2, 2)
    with pytest.raises(ValueError, match="missing: weight, bias\n  unexpected: 0, 1, 2 and 97 more") as error:
        net.load_state_dict({str(i): np.ones(2) for i in range(100)})
    assert "strict=False" not in str(error.value)  # with it nothing would be loaded either
    with pytest.raises(ValueError, match="unexpected: x{200}…\n") as error:
        net.load_state_dict({"x" * 10**6: np.ones(2), **net.state_dict()})
    assert len(str(error.value)) < 500


def test_a_placeholder_is_no_tensor():
    with pytest.raises(TypeError, match="weight must be a Tensor or an array, got <a tensor of complex64, not read>"):
        Linear(2, 1).load_state_dict({"weight": Placeholder("a tensor of complex64"), "bias": np.zeros(1)})


def test_state_dict_with_a_prefix():
    assert list(Linear(1, 1).state_dict(prefix="head.")) == ["head.weight", "head.bias"]
    assert list(Linear(1, 1).state_dict("head.")) == ["head.weight", "head.bias"]


def test_a_wrong_state_is_refused_with_a_hint():
    net = Linear(2, 1)
    with pytest.raises(TypeError, match=r"as state_dict\(\) gives, got str; read it first: microtensor.load\(path\)"):
        net.load_state_dict("net.npz")
    with pytest.raises(TypeError, match=r"several in a file: load_state_dict\(state\['model'\]\)"):
        net.load_state_dict({"model": net.state_dict(), "epoch": 3})


@pytest.mark.parametrize("form", [lambda t: t, lambda t: t.numpy().astype(np.float64)], ids=["tensors", "arrays"])
def test_load_copies_into_the_same_memory(form):
    source, net = Net(), Net()
    for i, p in enumerate([*source.parameters(), *source.buffers()]):
        p.array = p.array + i + 1
    kept = net.weight.array
    assert net.load_state_dict({name: form(t) for name, t in source.state_dict().items()}) == ([], [])
    assert net.weight.array is kept
    for name, value in net.state_dict().items():
        assert value.dtype == source.state_dict()[name].dtype
        np.testing.assert_array_equal(value.numpy(), source.state_dict()[name].numpy())
        assert not np.shares_memory(value.numpy(), source.state_dict()[name].numpy())


def test_load_lists_all_mismatches_and_changes_nothing():
    net = Net()
    state = {name: t.numpy() + 1 for name, t in net.state_dict().items()}
    del state["weight"], state["second.mean"]
    state |= {"first.scale": np.zeros(3), "extra": np.zeros(1), "second.offset": np.zeros((2, 1))}
    before = {name: t.numpy().copy() for name, t in net.state_dict().items()}
    with pytest.raises(ValueError, match="Net") as error:
        net.load_state_dict(state)
    for part in (
        "missing: weight, second.mean",
        "unexpected: extra",
        "first.scale is (2,) here, (3,) in the state",
        "second.offset is (2,) here, (2, 1) in the state",
    ):
        assert part in str(error.value)
    with pytest.raises(ValueError, match=r"another shape: first\.scale"):
        net.load_state_dict(state, strict=False)
    for name, t in net.state_dict().items():
        np.testing.assert_array_equal(t.numpy(), before[name])


def test_load_that_is_not_strict_returns_the_skipped_names():
    net = Net()
    loaded = net.load_state_dict({"weight": np.array([4.0]), "other": np.array(1)}, strict=False)
    assert net.weight.item() == 4.0
    assert loaded.unexpected_keys == ["other"]
    assert loaded.missing_keys == [name for name in net.state_dict() if name != "weight"]


@pytest.mark.parametrize("state", [[1], {"weight": "x"}, {"weight": [1.0]}, {"weight": np.array(["x"])}])
def test_load_of_anything_but_a_state_is_a_type_error(state):
    with pytest.raises(TypeError, match="expected|must be"):
        Net().load_state_dict(state)


def test_loading_into_a_pending_backward_is_refused():
    net = Linear(2, 2)
    x = Tensor([[1.0, 2.0]], requires_grad=True)
    y = net(x).sum()
    net.load_state_dict(Linear(2, 2).state_dict())
    with pytest.raises(RuntimeError, match="assigned to"):
        y.backward()


def test_pytorchs_state_loads():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    ours = Sequential(Linear(3, 4), ReLU(), Linear(4, 2))
    ours.load_state_dict({name: t.numpy() for name, t in theirs.state_dict().items()})
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    np.testing.assert_allclose(ours(Tensor(x)).detach().numpy(), theirs(torch.tensor(x)).detach().numpy(), rtol=1e-5, atol=1e-6)
