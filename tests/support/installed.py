"""Run by an interpreter that has only the built package: everything is there, and nothing that is not ours is taken."""

import importlib.metadata
import importlib.util
import sys
from pathlib import Path

import microtensor as mt
from microtensor import data, models, nn

root = Path(mt.__file__).parent
assert root.name == "microtensor"
assert "site-packages" in root.parts, f"imported from {root}, not from the installed package"
assert Path(nn.__file__).parent == root / "nn", nn.__file__
assert Path(models.__file__).parent == root / "models", models.__file__
assert (root / "py.typed").is_file()
for name in ("nn", "models"):
    assert importlib.util.find_spec(name) is None, f"a top-level {name} was installed"
installed = {str(file).split("/")[0] for file in importlib.metadata.files("microtensor") or []}
assert installed <= {"microtensor", f"microtensor-{mt.__version__}.dist-info", "..", "__editable__"}, installed
assert not any(name.split(".")[0] in ("cupy", "matplotlib", "tqdm", "hypothesis", "torch") for name in sys.modules)

images, labels = data.mnist_sample(train=False).tensors()
scores = models.lenet5()(images[:8])
nn.cross_entropy(scores, labels[:8]).backward()
assert scores.shape == (8, 10)
