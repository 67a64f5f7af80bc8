"""Find the files of a published data set, or download them, with a SHA-256 checksum.

Without a `root`, data sets look in the folder in the environment variable MICROTENSOR_DATA, then in the user's cache, where
downloads go (`pooch.os_cache("microtensor")`). Downloads need pooch: `pip install pooch`. To use your own mirror: `MNIST.source
= dataclasses.replace(MNIST.source, mirrors=("https://…/",))`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from ..runtime.extras import install_hint

ENVIRONMENT = "MICROTENSOR_DATA"

T = TypeVar("T")


@dataclass(frozen=True)
class Source:
    """A published data set: its name, the base URLs of its files, their SHA-256 checksums, and how to get it by hand."""

    name: str
    mirrors: tuple[str, ...]
    sha256: Mapping[str, str]
    by_hand: str
    inner: str = ""
    """The folder within a root that downloads go to, such as MNIST/raw."""

    def find(
        self,
        root: str | os.PathLike[str] | None,
        look: Callable[[Path], T | None],
        wanted: str,
        files: tuple[str, ...],
        download: bool,
    ) -> T:
        """The result of `look` for the first folder where it is not None; downloads the files if there is none.

        Args:
            root: the only folder to look in; None: MICROTENSOR_DATA, then the cache.
            look: a folder → the paths of the files in it, or None if they are missing.
            wanted: a description of the files for the error message.
            files: the files to download, if `download` is true.

        Raises:
            FileNotFoundError: the files are missing, and `download` is false.
            ImportError: a download is needed, and pooch is missing.
            OSError: the download failed.
        """
        places = _places(root)
        for place in places:
            found = look(place)
            if found is not None:
                return found
        if not download:
            raise FileNotFoundError(self._missing(root, wanted, places))
        target = _target(self.name, root) / self.inner
        for file in files:
            self.fetch(file, target)
        found = look(target)
        if found is None:
            raise FileNotFoundError(f"{self.name}: {', '.join(files)} in {target} disappeared after the download")
        return found

    def fetch(self, file: str, folder: Path) -> Path:
        """Download one file into a folder, from the first mirror that works, unless it is there with the right checksum.

        The bytes go to a temporary file, which is renamed if its checksum is right, and deleted otherwise.

        Raises:
            ImportError: pooch is missing.
            OSError: no mirror has the published file. The message has the reason for each mirror.
        """
        pooch = _pooch(self.name)
        failures = []
        for mirror in self.mirrors:
            url = mirror + file
            downloader = pooch.HTTPDownloader(progressbar=_progress(), chunk_size=1 << 16, timeout=30)
            try:
                return Path(pooch.retrieve(url, f"sha256:{self.sha256[file]}", file, folder, downloader=downloader))
            except ValueError:  # the checksum differs
                failures.append(
                    f"{url}: the download is not the published file: it is cut short or was changed (its sha256 differs)"
                )
            except OSError as error:  # includes the errors of requests
                failures.append(f"{url}: {error}")
        raise OSError(
            f"{self.name}: {file} could not be downloaded. {'; '.join(failures)}. Try again later, or get it by hand, put it "
            f"into {Path(self.inner)} in a folder of yours, and let the environment variable {ENVIRONMENT} name that folder"
        )

    def _missing(self, root: str | os.PathLike[str] | None, wanted: str, places: list[Path]) -> str:
        where = " and ".join(f"in {place / self.inner} and in {place}" for place in places) or "nowhere: no folder is named"
        ways = "" if root is not None else f"Give the folder as root, or name it by the environment variable {ENVIRONMENT}. "
        return (
            f"{self.name}: looked for {wanted} {where}, and found none. {ways}{self.name}(…, download=True) fetches it, with "
            f"pooch: {install_hint('pooch')}. {self.by_hand}"
        )


def _places(root: str | os.PathLike[str] | None) -> list[Path]:
    if root is not None:
        return [Path(root).expanduser()]
    named = os.environ.get(ENVIRONMENT)
    places = [Path(named).expanduser()] if named else []
    if importlib.util.find_spec("pooch"):  # without pooch, nothing was downloaded
        places.append(_target("", None))
    return places


def _target(name: str, root: str | os.PathLike[str] | None) -> Path:
    """The folder that downloads go below."""
    return Path(_pooch(name).os_cache("microtensor")) if root is None else Path(root).expanduser()


def _pooch(name: str) -> ModuleType:
    try:
        return importlib.import_module("pooch")
    except ImportError as error:
        raise ImportError(f"{name}: downloading needs pooch: {install_hint('pooch')}") from error


def _progress() -> bool:
    """Whether to show a progress bar: in a terminal, if tqdm is installed."""
    return sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None
