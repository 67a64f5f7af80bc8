"""The `microtensor` command: train a demo, list and describe networks, classify and explain photographs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import models, nn
from ..autograd.grad_mode import no_grad
from ..models.catalogue import card
from ..models.imagenet import preprocessing, top
from ..nn import init
from ..runtime.console import any_encoding
from . import demo, inspection
from . import saliency as command
from .options import at_least, shape


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (default: those of the process), and return its exit status."""
    parser = argparse.ArgumentParser(prog="microtensor", description="See how a convolutional network learns.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    demo.add_command(commands)
    _add_models(commands)
    _add_summary(commands)
    _add_predict(commands)
    command.add_command(commands)
    inspection.add_commands(commands)
    try:
        with any_encoding():
            status = _run(parser, arguments)
            sys.stdout.flush()
        return status
    except OSError as error:  # standard output is closed or full; other errors are caught in _run
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that Python's flush at exit does not fail
        if not isinstance(error, BrokenPipeError):  # the reader, such as `head`, has closed the pipe
            print(f"microtensor: cannot write the output: {error}", file=sys.stderr)
        return 1


def _run(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> int:
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except BrokenPipeError:
        raise
    except (ValueError, TypeError, OSError, RuntimeError, ImportError) as error:
        print(f"microtensor: {_message(error)}", file=sys.stderr)
    except MemoryError as error:
        print(f"microtensor: not enough memory: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nmicrotensor: stopped", file=sys.stderr)
        return demo.INTERRUPTED
    return 1


def _message(error: Exception) -> str:
    """The message of an error; for one of the operating system, the file and the reason without the error number."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fspath(error.filename)}: {error.strerror}"
    return str(error)


def _add_models(commands: Any) -> None:
    listing = commands.add_parser(
        "models",
        help="list the networks: year, parameters, multiply-adds, main idea",
        description="List the networks, oldest first: their input, parameters, multiply-adds for one input, memory of the "
        "weights in MB (10⁶ bytes), and their main idea. With a name, its paper too.",
    )
    listing.add_argument("names", nargs="*", metavar="NAME", help="networks to list; default: all")
    listing.set_defaults(run=_models)


def _models(options: argparse.Namespace) -> int:
    table = models.table(*options.names)
    print(table)
    for paper in dict.fromkeys(entry.paper for entry in table if options.names):
        print(f"\n{paper}")
    return 0


def _add_summary(commands: Any) -> None:
    summary = commands.add_parser(
        "summary",
        help="a network layer by layer: shapes, parameters, multiply-adds, receptive fields, memory",
        description="Show a network layer by layer: output shapes, parameters, multiply-adds, receptive fields, memory.",
    )
    summary.add_argument("name", metavar="NAME", help="a network listed by `microtensor models`")
    summary.add_argument("--input", type=shape, metavar="3x224x224", help="shape of the input; default: the paper's")
    summary.add_argument("--depth", type=at_least(0), help="deeper modules are counted in those at this depth")
    summary.set_defaults(run=_summary)


def _summary(options: argparse.Namespace) -> int:
    about = card(options.name)
    with init.skipped():
        model = about.factory()
    print(nn.summary(model, options.input or about.input_shape, depth=options.depth))
    return 0


def _add_predict(commands: Any) -> None:
    predict = commands.add_parser(
        "predict",
        help="the five most probable ImageNet classes of a photograph",
        description="Classify photographs: their most probable ImageNet classes, by a network with trained weights.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    predict.add_argument("image", type=Path, nargs="+", metavar="IMAGE", help="an image file that Pillow can read")
    predict.add_argument(
        "--model", default="efficientnet_lite0", metavar="NAME", help="a network listed by `microtensor models`"
    )
    predict.add_argument(
        "--weights", type=Path, required=True, default=argparse.SUPPRESS, metavar="FILE", help=".pth, .safetensors or .npz"
    )
    predict.add_argument("--top", type=at_least(1), default=5, metavar="K", help="the number of classes")
    predict.set_defaults(run=_predict)


def _predict(options: argparse.Namespace) -> int:
    with init.skipped():
        model = models.build(options.model)
    models.load_weights(model, options.weights)
    images = preprocessing(options.model)(*options.image)
    with model.evaluating(), no_grad():
        guesses = top(model(images), options.top)
    for image, best in zip(options.image, guesses):
        print(image)
        for guess in best:
            print(f"  {guess.probability:6.1%}  {guess.name} ({guess.label})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
