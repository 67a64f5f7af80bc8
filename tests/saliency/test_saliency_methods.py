"""The table of saliency methods: it is complete, and its entries are correct."""

import inspect
from pathlib import Path

import numpy as np
import pytest

import microtensor as mt
from microtensor import nn, saliency
from microtensor.saliency.methods import METHODS


def test_every_public_method_that_gives_maps_is_in_the_table():
    """A method takes model, x, target and returns a Tensor; `fgsm`, `deletion`, `sanity_check` … return something else."""
    found = set()
    for name in saliency.__all__:
        function = getattr(saliency, name)
        if inspect.isfunction(function):
            signature = inspect.signature(function)
            is_method = list(signature.parameters)[:3] == ["model", "x", "target"]
            if is_method and str(signature.return_annotation).startswith("Tensor"):
                found.add(name)
    assert found == set(METHODS)
    assert all(METHODS[name].function is getattr(saliency, name) for name in METHODS)


def test_titles_are_unlike_and_names_are_in_the_documentation():
    assert len({method.title for method in METHODS.values()}) == len(METHODS)
    page = (Path(saliency.__file__)).read_text(encoding="utf-8")
    assert not [name for name in METHODS if name not in page]
    assert [name for name, method in METHODS.items() if method.needs_layer] == ["grad_cam", "guided_grad_cam"]


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_the_cost_is_the_number_of_images_that_pass_through_the_model(method):
    passed = []
    conv, head = nn.Conv2d(1, 2, 3), nn.Linear(2, 3)

    def model(x):
        passed.append(len(x))
        return head(conv(x).relu().mean(dim=(2, 3)))

    x = mt.Tensor(np.random.default_rng(0).random((1, 1, 56, 56)).astype(np.float32))
    found = method.maps(model, x, [0], generator=mt.Generator(0))
    assert found.shape == (1, 56, 56)
    assert sum(passed) == method.cost
