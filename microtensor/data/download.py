"""Where the files of a published data set are found, and how they are fetched: checked by sha256, whole or not at all.

Without a `root`, data sets look in the folder that the environment variable MICROTENSOR_DATA names, then in the cache of this
user, where downloads go (`pooch.os_cache("microtensor")`). Downloads need pooch: `pip install pooch`.
A mirror of your own: `MNIST.source = dataclasses.replace(MNIST.source, mirrors=("https://…/",))`.
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
    """A published data set: its name, the URLs that its files stand behind, the sha256 of each, and how to get it by hand."""

    name: str
    mirrors: tuple[str, ...]
    sha256: Mapping[str, str]
    by_hand: str
    inner: str = ""
    """The folder within a root, such as MNIST/raw, that downloads go to."""

    def find(
        self,
        root: str | os.PathLike[str] | None,
        look: Callable[[Path], T | None],
        wanted: str,
        files: tuple[str, ...],
        download: bool,
    ) -> T:
        """What `look` finds in the first of the folders that has it.

        Args:
            root: the one folder to look in; None: MICROTENSOR_DATA, then the cache.
            wanted: what is looked for, in words.
            files: those to download, if it is nowhere and `download` is true.

        Raises:
            FileNotFoundError: it is nowhere, and is not to be downloaded.
            ImportError: it is to be downloaded, and pooch is missing.
            OSError: it cannot be downloaded.
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
            raise FileNotFoundError(f"{self.name}: {', '.join(files)} in {target} went away while being read")
        return found

    def fetch(self, file: str, folder: Path) -> Path:
        """Download one file into a folder, from the first mirror that has it; nothing is done if it is there and right.

        The bytes go to a temporary file, which takes its place when its sha256 is right, and else is deleted.

        Raises:
            ImportError: pooch is missing.
            OSError: no mirror gives the file, or what comes is not the published one. The message says why, for each.
        """
        pooch = _pooch(self.name)
        failures = []
        for mirror in self.mirrors:
            url = mirror + file
            downloader = pooch.HTTPDownloader(progressbar=_progress(), chunk_size=1 << 16, timeout=30)
            try:
                return Path(pooch.retrieve(url, f"sha256:{self.sha256[file]}", file, folder, downloader=downloader))
            except ValueError:  # of the hash
                failures.append(
                    f"{url}: what came is not the published file: it was cut short, or is another (its sha256 differs)"
                )
            except OSError as error:  # those of requests are among them
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
    if importlib.util.find_spec("pooch"):  # without it nothing was downloaded
        places.append(_target("", None))
    return places


def _target(name: str, root: str | os.PathLike[str] | None) -> Path:
    """The folder below which downloads go."""
    return Path(_pooch(name).os_cache("microtensor")) if root is None else Path(root).expanduser()


def _pooch(name: str) -> ModuleType:
    try:
        return importlib.import_module("pooch")
    except ImportError as error:
        raise ImportError(f"{name}: downloading needs pooch: {install_hint('pooch')}") from error


def _progress() -> bool:
    """Whether a progress bar can be shown."""
    return sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None
