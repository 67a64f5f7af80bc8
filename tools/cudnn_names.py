"""List the names and arguments of the installed `nvidia-cudnn-frontend`, which its stand-in in the tests accepts. Needs no GPU.

    pip install nvidia-cudnn-frontend
    python -m tools.cudnn_names tests/support/strict/cudnn_names.json

The output has names only, as that of cupy_names.py.
"""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path
from typing import Any

from tools.cupy_names import from_signature, names, written

FUNCTIONS = ("backend_version", "create_handle", "set_stream", "pygraph")
OPERATIONS = ("conv_fprop", "conv_dgrad", "conv_wgrad")
ENUMERATIONS = ("data_type", "heur_mode", "numerical_note")


def installed() -> dict[str, Any]:
    """Names and arguments of the installed package, in the form of the file."""
    import cudnn  # type: ignore[import-not-found, unused-ignore]
    from cudnn import _pygraph  # type: ignore[import-not-found, unused-ignore]

    graph = names(cudnn.pygraph)
    for operation in OPERATIONS:  # their signatures accept anything: the arguments are in a table
        table = _pygraph._STRUCTURED_OPS[operation]
        attributes = [f"{name}=" for name in table["attrs"]]
        graph[operation] = ", ".join([*table["inputs"], *attributes, "*", "name=", "compute_data_type=", "out_dims="])
    return {
        "version": cudnn.__version__,
        "functions": {name: _parameters(getattr(cudnn, name)) for name in FUNCTIONS},
        "pygraph": graph,
        "tensor": names(cudnn.Tensor),
        "enumerations": {name: sorted(getattr(cudnn, name).__members__) for name in ENUMERATIONS},
    }


def _parameters(function: Any) -> str:
    try:
        return from_signature(inspect.signature(function))
    except ValueError:  # compiled: the docstring starts with the signature
        return (function.__doc__ or "").partition("(")[2].partition(")")[0]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path", type=Path, help="where to write: tests/support/strict/cudnn_names.json")
    parser.parse_args().path.write_text(written(installed()), encoding="utf-8")


if __name__ == "__main__":
    main()
