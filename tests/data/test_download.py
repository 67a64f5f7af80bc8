"""Downloads from a server on loopback: a good one, and each that is not; and where data sets are looked for."""

import dataclasses
import gzip
import hashlib
import socket
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from data_files import content, images_and_labels, members, pack, write_mnist

from microtensor.data import CIFAR10, CIFAR100, MNIST, FashionMNIST

pooch = pytest.importorskip("pooch")
LABELS, IMAGES = "train-labels-idx1-ubyte.gz", "train-images-idx3-ubyte.gz"


def zipped(array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.tobytes(), mtime=0)


@pytest.fixture
def server(monkeypatch):
    """A server of `server.files`, {path: bytes}; it notes the paths in `server.asked`, and cuts short those in `server.cut`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(self.path)
            if self.path not in self.server.files:
                self.send_error(404)
                return
            body = self.server.files[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if self.path in self.server.cut else body)

        def log_message(self, *args):
            pass

    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.files, running.asked, running.cut = {}, [], set()
        running.url = f"http://127.0.0.1:{running.server_port}/"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The user's cache, for this test; and no folder in the environment."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(pooch, "os_cache", lambda name: folder / name)
    monkeypatch.delenv("MICROTENSOR_DATA", raising=False)
    return folder / "microtensor"


@pytest.fixture
def digits(server, cache, monkeypatch):
    """MNIST as the server has it: a few images, at the second of two mirrors' paths."""
    images, labels = images_and_labels(20, seed=4)
    files = {IMAGES: zipped(images), LABELS: zipped(labels)}
    server.files = {f"/mnist/{name}": body for name, body in files.items()}
    sha256 = {name: hashlib.sha256(body).hexdigest() for name, body in files.items()}
    mirrors = (f"{server.url}gone/", f"{server.url}mnist/")
    monkeypatch.setattr(MNIST, "source", dataclasses.replace(MNIST.source, mirrors=mirrors, sha256=sha256))
    return images, labels


def left_over(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_download_is_checked_kept_and_not_repeated(digits, server, cache):
    with pytest.raises(FileNotFoundError, match=r"MNIST: .*download=True\) fetches it"):
        MNIST()
    assert server.asked == []
    dataset = MNIST(download=True)
    np.testing.assert_array_equal(dataset.images, digits[0])
    assert dataset.labels.tolist() == digits[1].tolist()
    assert left_over(cache) == [f"MNIST/raw/{IMAGES}", f"MNIST/raw/{LABELS}"]
    assert server.asked == [f"/{mirror}/{name}" for name in (IMAGES, LABELS) for mirror in ("gone", "mnist")]
    server.asked.clear()
    for download in (True, False):
        np.testing.assert_array_equal(MNIST(download=download).images, digits[0])
    assert server.asked == []


def test_a_terminal_sees_a_progress_bar(digits, cache, monkeypatch, capsys):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    MNIST(download=True)
    assert "100%" in capsys.readouterr().err


def test_a_root_gets_the_download(digits, server, cache, tmp_path):
    MNIST(tmp_path / "mine", download=True)
    assert left_over(tmp_path / "mine") == [f"MNIST/raw/{IMAGES}", f"MNIST/raw/{LABELS}"]
    assert not cache.exists()


def test_the_folder_of_the_environment_comes_first(digits, server, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("MICROTENSOR_DATA", str(tmp_path / "offline"))
    MNIST(download=True)  # the folder has nothing: the cache gets it
    assert len(left_over(cache)) == 2
    server.asked.clear()
    images, _ = write_mnist(tmp_path / "offline" / "MNIST" / "raw", seed=9)
    np.testing.assert_array_equal(MNIST(download=True).images, images)
    assert server.asked == []


def wrong(server):
    server.files[f"/mnist/{IMAGES}"] = zipped(images_and_labels(20, seed=5)[0])


def truncated(server):
    server.cut.add(f"/mnist/{IMAGES}")


def short(server):
    server.files[f"/mnist/{IMAGES}"] = server.files[f"/mnist/{IMAGES}"][:1000]


def absent(server):
    del server.files[f"/mnist/{IMAGES}"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (wrong, "the download is not the published file"),
        (short, "the download is not the published file"),
        (truncated, r"IncompleteRead|broken"),
        (absent, "404"),
    ],
)
def test_a_bad_download_is_refused_in_words_and_leaves_nothing(digits, server, cache, damage, message):
    damage(server)
    with pytest.raises(OSError, match=rf"^MNIST: {IMAGES} could not be downloaded.*/mnist/{IMAGES}: .*({message})") as caught:
        MNIST(download=True)
    for words in ("/gone/", "404", "MNIST/raw", "MICROTENSOR_DATA", "by hand"):
        assert words in str(caught.value)
    assert left_over(cache) == []
    server.cut.clear()
    server.files[f"/mnist/{IMAGES}"] = zipped(digits[0])
    np.testing.assert_array_equal(MNIST(download=True).images, digits[0])


def test_no_network(digits, cache, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but not listened to
        mirrors = (f"http://127.0.0.1:{taken.getsockname()[1]}/",)
        monkeypatch.setattr(MNIST, "source", dataclasses.replace(MNIST.source, mirrors=mirrors))
        with pytest.raises(OSError, match=r"MNIST: .* could not be downloaded.*refused.*MICROTENSOR_DATA"):
            MNIST(download=True)
    assert left_over(cache) == []


def test_a_damaged_file_in_the_cache_is_fetched_again_by_hand_only(digits, server, cache):
    MNIST(download=True)
    path = cache / "MNIST" / "raw" / IMAGES
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=f"{IMAGES}: gzip data cut short"):
        MNIST()
    path.unlink()
    server.asked.clear()
    MNIST(download=True)
    assert server.asked == [f"/gone/{IMAGES}", f"/mnist/{IMAGES}"]  # the labels are right, and stay


def test_cifar_is_downloaded(server, cache, tmp_path, monkeypatch):
    name = "cifar-100-binary.tar.gz"
    path = pack(tmp_path / name, {name: content(labels, images) for name, labels, images in members(CIFAR100)})
    body = path.read_bytes()
    server.files[f"/{name}"] = body
    source = dataclasses.replace(CIFAR100.source, mirrors=(server.url,), sha256={name: hashlib.sha256(body).hexdigest()})
    monkeypatch.setattr(CIFAR100, "source", source)
    for train in (True, False):
        assert len(CIFAR100(train=train, download=True)) == 4
    assert left_over(cache) == [f"CIFAR100/{name}"]
    assert server.asked == [f"/{name}"]


@pytest.mark.parametrize("kind", [MNIST, FashionMNIST, CIFAR10, CIFAR100])
def test_without_pooch_the_extra_is_named(kind, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=rf'{kind.__name__}: downloading needs pooch: pip install "pooch>=1.8"$'):
        kind(tmp_path, download=True)
    monkeypatch.delenv("MICROTENSOR_DATA", raising=False)
    with pytest.raises(
        FileNotFoundError, match=rf'{kind.__name__}: .*MICROTENSOR_DATA.*with pooch: pip install "pooch>=1.8"\. '
    ):
        kind()


@pytest.mark.parametrize("kind", [MNIST, FashionMNIST, CIFAR10, CIFAR100])
def test_published_checksums_have_the_form_of_sha256(kind):
    for name, sha256 in kind.source.sha256.items():
        assert name.endswith(".gz")
        assert len(bytes.fromhex(sha256)) == 32
    assert all(mirror.startswith("http") and mirror.endswith("/") for mirror in kind.source.mirrors)
