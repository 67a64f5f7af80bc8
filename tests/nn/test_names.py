"""The public names of nn."""

import importlib
import inspect
import pkgutil

from microtensor import nn


def test_every_layer_is_exported():
    exported = [value for value in vars(nn).values() if inspect.isclass(value)]
    for module in pkgutil.iter_modules(nn.layers.__path__, "microtensor.nn.layers."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if inspect.isclass(value) and issubclass(value, nn.Module) and not name.startswith("_"):
                assert any(issubclass(layer, value) for layer in exported), f"{module.name}.{name} is missing from nn"


def test_everything_that_nn_imports_from_its_files_is_in_all():
    imported = {name for name, value in vars(nn).items() if getattr(value, "__module__", "").startswith("microtensor.nn.")}
    assert imported <= set(nn.__all__)
    assert len(nn.__all__) == len(set(nn.__all__))
