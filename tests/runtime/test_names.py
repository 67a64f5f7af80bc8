"""The names of the modules: all there, without any extra; and what is said of those that are not."""

import copy
import importlib
import inspect
import pickle
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import microtensor as mt
from microtensor import data, models, nn, plot, random, saliency
from microtensor.data import transforms
from microtensor.runtime import names

HERE = Path(__file__).parents[2]

BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        allowed = sys.stdlib_module_names | {"numpy", "microtensor", "encodings"}
        if name.partition(".")[0] not in allowed and not name.startswith("_"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
"""
"""NumPy and Python's own modules, and no others."""


def run(program):
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(HERE)!r})\n{BLOCKED}\n{program}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_name_of_every_module_is_there_with_numpy_alone():
    program = """
import importlib, pkgutil
import microtensor as mt
count = 0
for found in pkgutil.walk_packages(mt.__path__, "microtensor."):
    if found.name in ("microtensor.__main__", "microtensor.testing"):
        continue
    module = importlib.import_module(found.name)
    for name in getattr(module, "__all__", ()):
        getattr(module, name)
        count += 1
for name in mt.__all__:
    getattr(mt, name)
print(count)
"""
    assert int(run(program)) > 300


def test_star_imports_with_numpy_alone():
    assert run("from microtensor import *\nprint(type(tensor([1]) + 1).__name__, nn.Linear.__name__)") == "Tensor Linear\n"
    for module in ("nn", "models", "data", "saliency", "plot", "nn.optim", "nn.transfer", "data.transforms"):
        run(f"from microtensor.{module} import *")


def test_an_extra_that_is_missing_is_an_attribute_error_that_names_it():
    program = """
import microtensor as mt
print(hasattr(mt, "testing"), hasattr(mt, "draw"), hasattr(mt, "plot"))
try:
    mt.testing
except AttributeError as error:
    print(error)
try:
    from microtensor import testing
except ImportError as error:
    print(error)
"""
    lines = run(program).splitlines()
    assert lines[0] == "False False True"
    assert all('needs hypothesis: pip install "hypothesis>=6.100"' in line for line in lines[1:])
    assert len(lines) == 3


def test_what_python_asks_of_a_module_is_answered():
    program = """
import inspect, pydoc
import microtensor as mt
print(len(inspect.getmembers(mt)) > 250, "NAME" in pydoc.plain(pydoc.render_doc(mt)))
"""
    assert run(program) == "True True\n"
    assert set(mt.__all__) <= set(dir(mt))
    assert "testing" in dir(mt)
    assert {name for name, _ in inspect.getmembers(nn)} >= set(nn.__all__)
    assert "class Conv2d" in pydoc.plain(pydoc.render_doc(nn))
    for take in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot pickle 'module' object"):
            take(mt)
    for module in (mt, nn, models, data, transforms, saliency, plot, random):
        for question in ("__wrapped__", "__array__", "__len__", "__nothing__"):
            assert not hasattr(module, question)


WORDS = [
    (mt, "float", 'write dtype="float32"'),
    (mt, "int64", 'write dtype="int64"'),
    (mt, "Conv2d", "it is nn.Conv2d"),
    (mt, "conv2D", "did you mean nn.Conv2d or nn.conv2d"),
    (mt, "cross_entropy", "it is nn.cross_entropy"),
    (mt, "resnet18", "it is models.resnet18"),
    (mt, "DataLoader", "it is data.DataLoader"),
    (mt, "tenser", "did you mean mt.tensor"),
    (mt, "concatenate", "write mt.cat"),
    (mt, "optim", "nn.SGD"),
    (mt, "draw", "write mt.draw_graph"),
    (nn, "Conv2D", "did you mean nn.Conv2d"),
    (nn, "Relu", "did you mean nn.ReLU"),
    (nn, "relu", "it is mt.relu"),
    (nn, "functional", "nn.cross_entropy"),
    (nn, "MaxPool2D", "did you mean nn.MaxPool2d"),
    (nn, "Dense", "write nn.Linear"),
    (nn, "CrossEntropy", "nn.CrossEntropyLoss"),
    (nn, "LSTM", "no recurrent layers"),
    (models, "ResNet18", "did you mean models.resnet18"),
    (models, "vgg_16", "did you mean models.vgg16"),
    (models, "efficientnet_b0", "write models.efficientnet_lite0"),
    (data, "Normalize", "it is transforms.Normalize"),
    (data, "Imagefolder", "did you mean data.ImageFolder"),
    (transforms, "ToTensor", "write transforms.ToFloat()"),
    (transforms, "DataLoader", "it is data.DataLoader"),
    (transforms, "RandomHorizontalflip", "did you mean transforms.RandomHorizontalFlip"),
    (saliency, "GradCAM", "did you mean saliency.grad_cam"),
    (plot, "training_curves", "did you mean plot.training_curve"),
    (random, "seed", "write mt.manual_seed"),
]


@pytest.mark.parametrize(("module", "name", "words"), WORDS, ids=[f"{m.__name__}.{n}" for m, n, _ in WORDS])
def test_a_name_that_is_not_there_is_told_what_to_write_instead(module, name, words):
    assert not hasattr(module, name)
    with pytest.raises(AttributeError) as attribute:
        getattr(module, name)
    assert words in str(attribute.value)
    with pytest.raises(ImportError) as imported:
        exec(f"from {module.__name__} import {name}")
    assert words in str(imported.value)
    assert f"cannot import name {name!r} from {module.__name__!r}" in str(imported.value)


def test_what_is_to_be_written_instead_is_there():
    """Every name of ours that an advice gives."""
    places = {
        "mt": mt,
        "nn": nn,
        "models": models,
        "data": data,
        "transforms": transforms,
        "saliency": saliency,
        "random": random,
    }
    given = [hint for table in names.KNOWN.values() for hint in table.values()]
    found = 0
    for hint in given:
        for word in hint.replace("(", " ").replace(",", " ").split():
            place, _, name = word.strip(":;.…)").partition(".")
            if place in places and name:
                found += 1
                attribute = places[place]
                for part in name.split("."):
                    attribute = getattr(attribute, part)
    assert found > 60


def test_no_advice_is_given_for_what_is_there():
    for module, table in names.KNOWN.items():
        there = vars(importlib.import_module(module))
        assert not set(table) & set(there)


def test_a_name_like_no_other_gets_no_advice():
    for module in (mt, nn, models, data, transforms, saliency, plot, random):
        with pytest.raises(AttributeError, match=r"has no attribute 'xyzzy_plugh'$"):
            _ = module.xyzzy_plugh


def test_names_of_init():
    with pytest.raises(AttributeError, match="did you mean nn.init.xavier_uniform_"):
        nn.init.xavier_uniform  # noqa: B018
    with pytest.raises(AttributeError, match="write nn.init.kaiming_uniform_"):
        nn.init.kaiming  # noqa: B018
