"""List the names, arguments and dtypes of the installed CuPy, which tests/support/strict accepts. Needs no GPU.

    pip install "cupy-cuda12x[ctk]"
    python tools/cupy_names.py tests/support/strict/cupy_names.json

The output has names, parameter names, and the dtypes of each ufunc. "=" marks a parameter with a default, "*" precedes
keyword-only parameters; "*x" and "**x" are variadic.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

SPACES = {
    "": "cupy",
    "linalg": "cupy.linalg",
    "random": "cupy.random",
    "lib.stride_tricks": "cupy.lib.stride_tricks",
    "cuda": "cupy.cuda",
    "cuda.cublas": "cupy.cuda.cublas",
}
"""Namespaces whose names are listed."""

CLASSES = {
    "ndarray": "cupy.ndarray",
    "ufunc": "cupy.ufunc",
    "random.Generator": "cupy.random.Generator",
    "cuda.Device": "cupy.cuda.Device",
    "cuda.Stream": "cupy.cuda.Stream",
    "cuda.Event": "cupy.cuda.Event",
    "cuda.MemoryPool": "cupy.cuda.MemoryPool",
    "cuda.PinnedMemoryPool": "cupy.cuda.PinnedMemoryPool",
}
"""Classes whose attributes are listed."""


def installed() -> dict[str, Any]:
    """Names of the installed CuPy, in the form of the file."""
    import cupy  # type: ignore[import-not-found, unused-ignore]

    def named(path: str) -> Any:
        found: Any = cupy
        for part in path.split(".")[1:]:
            found = getattr(found, part)
        return found

    return {
        "version": cupy.__version__,
        "spaces": {short: names(named(path)) for short, path in SPACES.items()},
        "classes": {short: names(named(path), special=short == "ndarray") for short, path in CLASSES.items()},
        "ufuncs": {
            name: {"inputs": value.nin, "outputs": value.nout, "types": loops(value), "at": value._scatter_op}
            for name, value in sorted(vars(cupy).items())
            if isinstance(value, cupy.ufunc)
        },
    }


def names(owner: Any, special: bool = False) -> dict[str, str | None]:
    """Every public name of a module or class → its parameters as text; None if it has none or they are unknown."""
    found = {}
    for name in sorted(dir(owner)):
        if name.startswith("_") and not (special and name.startswith("__")):
            continue
        try:
            value = getattr(owner, name)
        except AttributeError:  # a name that only raises an error
            continue
        found[name] = None if isinstance(value, type) or not callable(value) else parameters(value)
    return found


def parameters(function: Callable[..., Any]) -> str | None:
    """The parameters of a function: from its signature or, if it is compiled, from the first line of its docstring."""
    try:
        return from_signature(inspect.signature(function))
    except (TypeError, ValueError):
        pass
    line = (getattr(function, "__doc__", None) or "").partition("\n")[0]
    match = re.fullmatch(r"[\w.]+\((.*)\)(?: *->.*)?", line)
    if match is None:
        return None
    found = []
    for part in (part.strip() for part in re.split(r",(?![^()\[]*[)\]])", match[1])):
        name, default = part.partition("=")[::2]
        found.append(name.split()[-1] + ("=" if default else "") if part not in ("*", "/", "") else part)
    return ", ".join(part for part in found if part not in ("self", "cls", ""))


def from_signature(signature: inspect.Signature) -> str:
    """A signature without its defaults and annotations."""
    found, starred = [], False
    for parameter in signature.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            found.append("*")
        starred |= parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        found.append(stars + parameter.name + ("=" if parameter.default is not parameter.empty else ""))
    return ", ".join(found)


def loops(ufunc: Any) -> str:
    """The dtypes of a ufunc's loops, in order of preference, as "ee->e ff->f"."""
    return " ".join(dict.fromkeys(ufunc.types))


def written(facts: dict[str, Any]) -> str:
    """The text of the file: one name per line."""
    return json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path", type=Path, help="where to write: tests/support/strict/cupy_names.json")
    parser.parse_args().path.write_text(written(installed()), encoding="utf-8")


if __name__ == "__main__":
    main()
