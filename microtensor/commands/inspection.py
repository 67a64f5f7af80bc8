"""`microtensor receptive-field` and `microtensor trace`: receptive fields of units, max pooling step by step."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path
from typing import Any

from .. import models, nn, plot
from ..io.files import check_place
from ..models.catalogue import card
from ..nn import init
from ..nn.inspect.effective_field import EffectiveField, asked
from ..plot.style import check_path
from ..random import Generator, manual_seed
from ..runtime.text import shape_text, sides_text
from .options import at_least, matrix, shape

IMAGE = "2 4 8 3 6; 9 3 4 2 5; 5 4 6 3 1; 2 3 1 3 4; 2 7 4 5 7"
GRADIENT = "1 3 1; 1 4 2; 6 2 1"
"""The default example: overlapping 3×3 windows, so that gradients add up."""


def add_commands(commands: Any) -> None:
    """Add the two commands to argparse."""
    _add_receptive_field(commands)
    _add_trace(commands)


def _add_receptive_field(commands: Any) -> None:
    field = commands.add_parser(
        "receptive-field",
        help="the receptive field of each layer; with --out, how much each pixel contributes",
        description="Show the receptive field of each layer: its size, the jump between units, the first centre, in pixels. "
        "With --out, draw the effective receptive field of the middle unit of a layer: the mean magnitude of the "
        "gradient over random images; for a network over sequences, the receptive field as a triangle.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    field.add_argument("name", metavar="NAME", help="a network listed by `microtensor models`")
    shape_help = "shape of the input; default: the paper's"
    field.add_argument("--input", type=shape, metavar="3x224x224", default=argparse.SUPPRESS, help=shape_help)
    layer_help = "only this layer; default for the figure: the last feature maps"
    field.add_argument("--layer", metavar="LAYER", default=argparse.SUPPRESS, help=layer_help)
    field.add_argument("--out", type=Path, metavar="FILE", default=argparse.SUPPRESS, help="draw it: .png, .svg or .pdf")
    weights_help = "trained weights for the figure, .pth, .safetensors or .npz; default: random"
    field.add_argument("--weights", type=Path, metavar="FILE", default=argparse.SUPPRESS, help=weights_help)
    field.add_argument("--samples", type=at_least(1), default=20, metavar="N", help="random images for the figure")
    field.add_argument("--seed", type=at_least(0), default=0, help="of random weights and images")
    field.set_defaults(run=_receptive_field)


def _receptive_field(options: argparse.Namespace) -> int:
    about = card(options.name)
    given = vars(options)
    input_shape, layer, out = given.get("input", about.input_shape), given.get("layer"), given.get("out")
    if out is not None:
        check_path(out)  # before the computation, not after it
        plot.require()
    manual_seed(options.seed)
    if out is None or "weights" in given:
        with init.skipped():
            model = about.factory()
    else:
        model = about.factory()
    if "weights" in given:
        models.load_weights(model, options.weights)
    if layer is None:
        print(nn.receptive_field(model, input_shape))
    else:
        field, unit, _ = asked("receptive-field", model, input_shape, layer, None)
        box = " × ".join(f"{low:g} to {high:g}" for low, high in field.of(*unit))
        print(f"{options.name} {field.name} ({field.type}) for {shape_text(input_shape)}: {shape_text(field.output_shape)}")
        print(f"field {sides_text(field.size)}, jump {sides_text(field.jump)}, first centre {sides_text(field.center)} pixels")
        print(f"unit {unit}: pixels {box}; below 0 and beyond the image is padding")
    if out is None:
        return 0
    if len(input_shape) == 2:
        figure = plot.receptive_field_triangles(model, input_shape)
    else:
        found = nn.effective_receptive_field(
            model, input_shape, layer, samples=options.samples, generator=Generator(options.seed)
        )
        figure = plot.effective_field({f"{options.name} {found.field.name}".strip(): found})
        print(f"\n{_summary(found)}")
    plot.save(figure, out)
    print(f"wrote {out}")
    return 0


def _summary(found: EffectiveField) -> str:
    """The standard deviation of an effective receptive field, and the share of the gradient within two of them."""
    spread = " × ".join(f"{s:.1f}" for s in found.sigma)
    share = f"{found.share(2):.1%} of the gradient lies within two"
    return f"unit {found.unit} of {found.field.name or 'the model'}: standard deviation {spread} pixels; {share}"


def _add_trace(commands: Any) -> None:
    trace = commands.add_parser(
        "trace",
        help="max pooling window by window, forward and backward",
        description="Show each window of a max pooling: its maximum, and the gradient that goes to that pixel, where "
        "overlapping windows add up: as a table and, with --out, as a figure.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    trace.add_argument("operation", choices=["maxpool"], help="the operation")
    trace.add_argument("--kernel", type=at_least(1), default=3, metavar="K", help="pixels per side of a window")
    trace.add_argument("--stride", type=at_least(1), default=1, metavar="S", help="pixels from one window to the next")
    trace.add_argument("--padding", type=at_least(0), default=0, metavar="P", help="pixels around the image")
    trace.add_argument("--image", type=matrix, default=IMAGE, metavar="'1 2; 3 4'", help="its rows, with ; between them")
    gradient_help = "the gradient of the result; default: 1, 2, 3 …, or, for the default image and window, " + GRADIENT
    trace.add_argument("--gradient", type=matrix, default=argparse.SUPPRESS, metavar="'1 2; 3 4'", help=gradient_help)
    out_help = "draw it: .gif as an animation; .png, .svg or .pdf as one figure"
    trace.add_argument("--out", type=Path, metavar="FILE", default=argparse.SUPPRESS, help=out_help)
    trace.set_defaults(run=_trace)


def _trace(options: argparse.Namespace) -> int:
    given = vars(options)
    image, settings = options.image, (options.kernel, options.stride, options.padding)
    is_default = image == matrix(IMAGE) and settings == (3, 1, 0)
    gradient, out = given.get("gradient", matrix(GRADIENT) if is_default else None), given.get("out")
    trace = nn.trace_max_pool(image, *settings, gradient)
    if out is not None:  # before the table is printed: some settings cannot be drawn
        _draw(out, image, settings, gradient)
    print(trace)
    if out is not None:
        print(f"wrote {out}")
    return 0


def _draw(out: Path, image: Any, settings: tuple[int, int, int], gradient: Any) -> None:
    """Draw a trace, or name the option to change."""
    plot.require()
    animated = out.suffix.lower() == ".gif"
    check_place(out) if animated else check_path(out)
    try:
        if animated:
            plot.save_animation(plot.max_pooling_frames(image, *settings, gradient), out)
        else:
            plot.save(plot.max_pooling(image, *settings, gradient), out)
    except ValueError as error:
        if not animated:
            with suppress(ValueError):  # an animation has room for more cells
                next(plot.max_pooling_frames(image, *settings, gradient))
                error = ValueError(f"{error}; with --out {out.with_suffix('.gif')} they are drawn one after the other")
        raise ValueError(f"trace: {out} cannot be drawn: {error}") from None
