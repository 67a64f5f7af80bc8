"""Every public operation can be called as `mt.name`, and as a method of Tensor where it is about one tensor."""

import importlib
import inspect
import pkgutil

import pytest

import microtensor as mt
from microtensor import ops

FAMILIES = [importlib.import_module(module.name) for module in pkgutil.iter_modules(ops.__path__, "microtensor.ops.")]
METHODS_ALONE = {"cast", "expand", "getitem", "move", "repeat", "unfold", "view"}  # of Tensor, some under another name
FUNCTIONS_ALONE = {"tensordot", "var_mean"}  # of mt; and the activations but for three


def is_public(name, function):
    """Whether a function of a family is an operation for users: of a tensor x, or with an example in its docstring."""
    if name.startswith("_") or not inspect.isroutine(function):
        return False
    return about_x(function) and hasattr(function, "__wrapped__") or ">>> import microtensor as mt" in (function.__doc__ or "")


def about_x(function):
    return next(iter(inspect.signature(function).parameters), None) == "x"


@pytest.mark.parametrize("family", [f for f in FAMILIES if not f.__name__.endswith(".singular")], ids=lambda f: f.__name__)
def test_every_operation_is_public(family):
    own = {name: f for name, f in vars(family).items() if getattr(f, "__module__", "") == family.__name__}
    operations = {name: f for name, f in own.items() if is_public(name, f)}
    assert {name for name in operations if name not in mt.__all__} <= METHODS_ALONE
    if not family.__name__.endswith("activations"):
        methods_missing = {name for name, f in operations.items() if about_x(f) and not hasattr(mt.Tensor, name)}
        assert methods_missing <= FUNCTIONS_ALONE | METHODS_ALONE


def test_every_name_of_all_is_there():
    assert [name for name in mt.__all__ if not hasattr(mt, name)] == []
    assert len(set(mt.__all__)) == len(mt.__all__)
