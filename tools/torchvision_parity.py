"""Check that our networks equal torchvision's: the same names and, with the same weights, the same outputs and gradients.

    pip install torch==2.13.0 Pillow . && pip install --no-deps torchvision==0.29.1
    python tools/torchvision_parity.py

For each network that both have: our network loads the `state_dict` of torchvision's, which has random weights and running
statistics, with strict=True. Then, on the same random images, without dropout:

    eval, train      the outputs in the two modes in float32: largest difference divided by largest value
    rounding         the same between torchvision's own training outputs in float32 and float64: a hundred batch
                     normalisations with the statistics of few images amplify the rounding errors of float32
    train, 64        the outputs in training mode in float64
    input, weights   the gradients of a loss in training mode, in float64 (where rounding flips no ReLU): for the input; for the
                     parameter with the largest difference. A bias before batch normalisation, whose gradient is 0, is
                     compared relative to the largest gradient of the network.

Ends with status 1 if outputs differ by more than 1e-4 (in float32 training: or three times the rounding), or gradients by 1e-3.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
import torch

import microtensor as mt
from microtensor import models, nn

SIZES = {"inception_v3": 299, "alexnet": 96, "fcn_resnet50": 48, "fcn_resnet101": 48}
"""Pixels per side, for networks that do not run on, or are slow with, 64."""

SEGMENTATION = ("fcn_resnet50", "fcn_resnet101")


def import_torchvision():
    """Import torchvision. Its package is built for CUDA, and its C++ operators do not load with a PyTorch for CPUs.

    The networks do not use these operators; it is enough to define two names.
    """
    try:
        import torchvision
    except RuntimeError:
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision

        torchvision.kept = library
    return torchvision


def outputs(result) -> dict:
    """All tensors that a network returns, by name."""
    if hasattr(result, "items"):
        return dict(result.items())
    if hasattr(result, "_asdict"):
        return {name: value for name, value in result._asdict().items() if value is not None}
    return {"logits": result}


def difference(ours, theirs) -> float:
    """Largest difference divided by largest value."""
    a, b = np.asarray(ours, np.float64), theirs.detach().double().numpy()
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30))


def prepared(name: str, torchvision) -> tuple:
    """Our network and torchvision's, with the same weights and without dropout."""
    torch.manual_seed(0)
    factory = torchvision.models.segmentation if name in SEGMENTATION else torchvision.models
    options = {"weights_backbone": None, "aux_loss": True} if name in SEGMENTATION else {}
    options |= {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    theirs = getattr(factory, name)(weights=None, **options)
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "drop_rate"):
            module.drop_rate = 0.0
    with nn.init.skipped():
        ours = models.build(name)
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()}, strict=True)
    for module in ours.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return ours, theirs


def compare(name: str, torchvision) -> tuple[float, ...]:
    """The six differences of the table."""
    ours, theirs = prepared(name, torchvision)
    size = SIZES.get(name, 64)
    x = np.random.default_rng(0).standard_normal((4, 3, size, size)).astype(np.float32)

    def run(training: bool):
        with torch.no_grad(), mt.no_grad():
            a, b = outputs(ours.train(training)(mt.Tensor(x))), outputs(theirs.train(training)(torch.tensor(x)))
        assert a.keys() == b.keys(), f"{name}: outputs {[*a]} and {[*b]}"
        return max(difference(a[key].numpy(), b[key]) for key in b), b

    evaluated, _ = run(False)
    trained, in_float32 = run(True)

    ours, theirs = (network.double().train() for network in prepared(name, torchvision))
    leaf = mt.Tensor(x.astype(np.float64), requires_grad=True)
    torch_leaf = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    a, b = outputs(ours(leaf)), outputs(theirs(torch_leaf))
    rounding = max(difference(in_float32[key].numpy(), b[key]) for key in b)
    wide = max(difference(a[key].numpy(), b[key]) for key in b)
    rng = np.random.default_rng(1)
    weights = {key: rng.standard_normal(value.shape) for key, value in a.items()}
    sum((a[key] * mt.Tensor(weights[key])).sum() for key in a).backward()
    sum((b[key] * torch.tensor(weights[key])).sum() for key in b).backward()
    largest = max(float(p.grad.abs().max()) for p in theirs.parameters() if p.grad is not None)
    worst = 0.0
    for (key, p), (_, q) in zip(ours.named_parameters(), theirs.named_parameters()):
        assert (p.grad is None) == (q.grad is None), f"{name}: {key} has a gradient on one side only"
        if p.grad is not None:
            scale = max(float(q.grad.abs().max()), 1e-9 * largest)
            worst = max(worst, float(np.abs(p.grad.numpy() - q.grad.numpy()).max()) / scale)
    return evaluated, trained, rounding, wide, difference(leaf.grad.numpy(), torch_leaf.grad), worst


def main() -> int:
    """Print the table; the exit status says whether all agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="networks; all that both have if none is named")
    options = parser.parse_args()
    torchvision = import_torchvision()
    known = {*torchvision.models.list_models(module=torchvision.models), *SEGMENTATION}
    names = options.names or [name for name in models.list_models() if name in known]
    print(f"torchvision {torchvision.__version__}, PyTorch {torch.__version__}: {len(names)} networks\n")
    print("| network | eval | train | rounding | train, 64 | input | weights | seconds |\n|---|---|---|---|---|---|---|---|")
    failed = []
    for name in names:
        start = time.perf_counter()
        found = compare(name, torchvision)
        cells = " | ".join(f"{number:.1e}" for number in found)
        print(f"| {name} | {cells} | {time.perf_counter() - start:.0f} |", flush=True)
        evaluated, trained, rounding, wide, *gradients = found
        if not (max(evaluated, wide) < 1e-4 and trained < max(1e-4, 3 * rounding) and max(gradients) < 1e-3):
            failed.append(name)
    print(f"\n{len(names) - len(failed)} of {len(names)} agree" + (f"; not {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
