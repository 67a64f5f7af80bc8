"""What holds for every operation: gradients to second order, PyTorch's values and gradients, the dtype of the input."""

import importlib
import pkgutil
import sys
from itertools import chain

import numpy as np
import pytest
import strict
from cases import CASES, COMPOSED, NOT_DIFFERENTIABLE
from hypothesis import given, settings
from hypothesis import strategies as st

import microtensor as mt
from microtensor.gradcheck import check_gradients

EVERY = CASES | COMPOSED


def operations():
    """The names of all operations in the package, found where they are defined."""
    names = set()
    walks = (pkgutil.walk_packages(package.__path__, package.__name__ + ".") for package in (mt, mt.nn, mt.models))
    for module in chain(*walks):  # nn and models by themselves: a checkout without links has them beside microtensor
        if module.name.endswith("__main__"):
            continue
        for value in vars(importlib.import_module(module.name)).values():
            if hasattr(value, "rule") and hasattr(value, "output"):
                names.add(value.__name__)
    return names


def test_every_operation_has_a_case_and_every_case_an_operation():
    assert set(CASES) | NOT_DIFFERENTIABLE == operations()
    assert not set(CASES) & NOT_DIFFERENTIABLE


@pytest.mark.parametrize("name", EVERY)
@given(data=st.data())
def test_gradients_of_first_and_second_order(name, data):
    case = data.draw(EVERY[name])
    check_gradients(case.ours, *case.inputs, order=2)


@pytest.mark.parametrize("name", EVERY)
@given(data=st.data(), seed=st.integers(0, 1000))
def test_values_and_gradients_are_pytorchs(name, data, seed):
    torch = pytest.importorskip("torch")
    case = data.draw(EVERY[name])
    if case.theirs is None:
        return
    leaves = [x.clone().detach().requires_grad_() for x in case.inputs]
    theirs = [torch.tensor(x.numpy(), requires_grad=True) for x in case.inputs]
    y, expected = case.ours(*leaves), case.theirs(torch, *theirs)
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-10, atol=1e-12, strict=True)
    g = np.random.default_rng(seed).standard_normal(y.shape)
    gradients = mt.grad(y, leaves, mt.Tensor(g), allow_unused=True)
    for ours, wanted in zip(gradients, torch.autograd.grad(expected, theirs, torch.tensor(g), allow_unused=True)):
        np.testing.assert_allclose(ours.numpy(), wanted.numpy(), rtol=1e-9, atol=1e-11, strict=True)


def with_meanings(y):
    """The places in the graph behind y of operations that have a meaning."""
    found, waiting, visited = [], [y.origin], set()
    while waiting:
        origin = waiting.pop()
        if origin in visited:
            continue
        visited.add(origin)
        found += [origin] if origin.meaning is not None else []
        waiting += [parent for parent, _ in origin.sources]
    return found


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=5)
@given(data=st.data())
def test_a_rule_computes_what_its_meaning_does(name, data):
    case = data.draw(EVERY[name])
    leaves = [x.detach().requires_grad_() for x in case.inputs]
    y = case.ours(*leaves)
    origins = with_meanings(y) if y.requires_grad else []
    for origin in origins:
        inputs, settings = origin.meaning.inputs, origin.meaning.settings
        ours, expected = origin.op(*inputs, **settings), origin.meaning.function(*inputs, **settings)
        np.testing.assert_allclose(ours.numpy(), expected.numpy(), rtol=1e-10, atol=1e-12, strict=True)
    if origins:
        g = mt.Tensor(np.random.default_rng(0).standard_normal(y.shape))
        plain, recorded = (
            mt.grad(y, leaves, g, retain_graph=True, create_graph=create, allow_unused=True) for create in (False, True)
        )
        for ours, expected in zip(plain, recorded):
            assert (ours is None) == (expected is None)
            if ours is not None:
                np.testing.assert_allclose(ours.numpy(), expected.numpy(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=5)
@given(data=st.data())
def test_float32_stays_float32(name, data):
    case = data.draw(EVERY[name])
    if name == "cast":
        return
    inputs = [x.to(np.float32).requires_grad_() for x in case.inputs]
    y = case.ours(*inputs)
    assert y.dtype == np.float32
    for g in mt.grad(y, inputs, mt.Tensor(np.ones(y.shape, np.float32)), allow_unused=True):
        assert g is None or g.dtype == np.float32


HOST = {"move", "_scatter_argmax", "_gather_argmax", "dropout", "dropout2d", "alpha_dropout", "feature_alpha_dropout", "rrelu"}
"""Cases that are about the CPU, bring an array of the CPU's, or draw numbers, which a GPU does by itself (`_drop`)."""


@pytest.mark.parametrize("name", [name for name in EVERY if name not in HOST])
@settings(max_examples=5)
@given(data=st.data())
def test_the_same_code_gives_the_same_numbers_on_a_device(name, data):
    """On a stand-in for CuPy, that is: real ones are not mixed with NumPy's arrays either."""
    case = data.draw(EVERY[name])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", strict.cupy)
        try:
            results = [value_and_gradients(case, device) for device in ("cpu", "cuda:0")]
        except ValueError as error:  # a case that brings a tensor of its own, on the CPU
            if "one tensor" not in str(error):
                raise
            return
    for ours, expected in zip(results[1], results[0]):
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-14)


def value_and_gradients(case, device):
    leaves = [x.detach().to(device).requires_grad_() for x in case.inputs]
    y = case.ours(*leaves)
    assert y.device == device
    g = mt.Tensor(np.random.default_rng(0).standard_normal(y.shape), device=device)
    found = mt.grad(y, leaves, g, allow_unused=True) if y.requires_grad else ()
    assert {dx.device for dx in found if dx is not None} <= {device}
    return [y.numpy(), *(dx.numpy() for dx in found if dx is not None)]
