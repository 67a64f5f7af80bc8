"""`microtensor.nn` and `microtensor.models` in a checkout without symbolic links.

The folders `nn/` and `models/` stand beside `microtensor/`. A wheel installs them inside it; in a checkout two symbolic links
do the same. Git on Windows makes no links by default, and a zip has none: there this import finder looks beside `microtensor/`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent.parent
BESIDE = {"microtensor.nn": HERE.parent / "nn", "microtensor.models": HERE.parent / "models"}


class BesideFinder(MetaPathFinder):
    """An import finder for the two packages that stand beside `microtensor/`."""

    @staticmethod
    def find_spec(fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Where the package is; None for any other module."""
        folder = BESIDE.get(fullname)
        if folder is None:
            return None
        return spec_from_file_location(fullname, folder / "__init__.py", submodule_search_locations=[str(folder)])


def find_packages_beside() -> None:
    """Install the finder in a checkout without links. Where `nn` and `models` are inside `microtensor/`, nothing changes."""
    linked = all((HERE / folder.name).is_dir() for folder in BESIDE.values())
    if not linked and all((folder / "__init__.py").is_file() for folder in BESIDE.values()):
        sys.meta_path.insert(0, BesideFinder())
