"""Optional dependencies, and the command that installs them, for error messages."""

from __future__ import annotations

EXTRAS = {
    "plot": ("matplotlib>=3.8", "Pillow>=10"),
    "train": ("tqdm>=4.60",),
    "data": ("pooch>=1.8", "tqdm>=4.60", "Pillow>=10"),
    "safetensors": ("safetensors>=0.4.5",),
    "cuda12": ("cupy-cuda12x[ctk]>=14",),
    "cuda13": ("cupy-cuda13x[ctk]>=14",),
    "cudnn": ("nvidia-cudnn-frontend>=1.32",),
    "onednn": ("onednn-cpu-gomp>=2023.2",),
    "test": ("pytest>=8", "pytest-xdist>=3.5", "hypothesis>=6.100"),
}
"""The extras of pyproject.toml, and what each installs."""


def install_hint(name: str) -> str:
    """The pip command that installs an extra, or one package of an extra.

    It names the packages, not the extra, and so works for a checkout and for a wheel as well.

    >>> install_hint("plot")
    'pip install "matplotlib>=3.8" "Pillow>=10"'
    >>> install_hint("hypothesis")
    'pip install "hypothesis>=6.100"'
    """
    packages = {package.partition(">=")[0]: (package,) for listed in EXTRAS.values() for package in listed}
    return "pip install " + " ".join(f'"{package}"' for package in (EXTRAS | packages)[name])
