"""Small files in the forms of MNIST and CIFAR, and a random transform, for tests of data sets and loaders."""

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np

from microtensor.data import CIFAR10, transforms, write_idx


def images_and_labels(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 28, 28), np.uint8), (np.arange(n) % 10).astype(np.uint8)


def write_mnist(folder, n=20, part="train", mark="-", zipped=False, seed=0):
    images, labels = images_and_labels(n, seed)
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in ((f"{part}-images{mark}idx3-ubyte", images), (f"{part}-labels{mark}idx1-ubyte", labels)):
        path = folder / name
        write_idx(path, array)
        if zipped:
            Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    return images, labels


ROWS = 4


def rows(kinds_of_labels, seed, n=ROWS):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, (n, kinds_of_labels), np.uint8)
    return labels, rng.integers(0, 256, (n, 3, 32, 32), np.uint8)


def members(kind):
    """What an archive of a few images holds: (name, labels, images) of each file."""
    if kind is CIFAR10:
        names = [f"cifar-10-batches-bin/{name}.bin" for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")]
        return [(name, *rows(1, i)) for i, name in enumerate(names)]
    return [(f"cifar-100-binary/{name}.bin", *rows(2, i)) for i, name in enumerate(("train", "test"))]


def content(labels, images):
    return b"".join(label.tobytes() + image.tobytes() for label, image in zip(labels, images))


def pack(path, files):
    """A .tar.gz of {name: bytes}; in the place of bytes may stand a TarInfo."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            info = data if isinstance(data, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(data, bytes):
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data) if isinstance(data, bytes) else None)
    return path


class Noise(transforms.Transform):
    """Works on what is no image as well."""

    def __call__(self, x, *others, generator=None):
        return (x + generator.normal(0, 1, x.shape), *others)
