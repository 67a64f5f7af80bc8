"""Settings of a layer that are assigned after its construction: they take effect as in PyTorch, or are refused."""

import layer_tables
import numpy as np
import pytest

import microtensor as mt
from microtensor import nn

torch = pytest.importorskip("torch")

CASES = layer_tables.settings(layer_tables.CHANGED)


def both(layer):
    """Our layer and PyTorch's, of the same parameters."""
    ours, theirs = (eval(layer, vars(library).copy()) for library in (nn, torch.nn))
    rng = np.random.default_rng(0)
    for parameter, there in zip(ours.parameters(), theirs.parameters()):
        numbers = rng.standard_normal(parameter.shape).astype(np.float32)
        parameter.array, there.data = mt.Tensor(numbers).array, torch.tensor(numbers)
    return ours, theirs


@pytest.mark.filterwarnings("ignore::UserWarning:torch")
@pytest.mark.parametrize(("layer", "shape", "name", "value"), CASES, ids=[f"{case[0]}-{case[2]}={case[3]}" for case in CASES])
def test_a_setting_that_is_changed_takes_effect_as_in_pytorch(layer, shape, name, value):
    ours, theirs = both(layer)
    rng = np.random.default_rng(1)
    first, second = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    ours(mt.Tensor(first))
    theirs(torch.tensor(first))
    for module in (ours, theirs):
        setattr(module, name, eval(value))
    y, expected = ours(mt.Tensor(second)), theirs(torch.tensor(second))
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-5, strict=True)
    state = theirs.state_dict()
    for key, value in ours.state_dict().items():
        np.testing.assert_allclose(value.numpy(), state[key].numpy(), rtol=1e-4, atol=1e-5, err_msg=key)
    assert ours.state_dict().keys() == state.keys()
    ours.eval(), theirs.eval()
    y, expected = ours(mt.Tensor(second)), theirs(torch.tensor(second))
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-5, strict=True)


@pytest.mark.parametrize(("layer", "shape", "name", "value"), layer_tables.settings(layer_tables.WRONG))
def test_a_wrong_setting_is_refused(layer, shape, name, value):
    """Where it is set, or by the next computation: never later, never in NumPy's words or Python's."""
    module = eval(layer, vars(nn).copy())
    x = mt.Tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32))
    arguments = [x, mt.softmax(x, dim=1)] if "Loss" in layer else [[0, 1]] if "Embedding" in layer else [x]
    module(*arguments)
    with pytest.raises((TypeError, ValueError, IndexError), match=": |would be lost to state_dict") as caught:
        setattr(module, name, eval(value)) or module(*arguments)
    assert not any(word in str(caught.value) for word in ("ufunc", "not supported between", "operand type", "NoneType'"))
