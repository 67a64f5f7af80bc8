"""Compare saliency maps with captum's, for the same weights and images, in float64.

    python3 -m venv /somewhere/captum && /somewhere/captum/bin/pip install torch captum -e .
    /somewhere/captum/bin/python tools/captum_parity.py

Prints the largest difference divided by the largest value for every method that both have; exits with 1 if one is above 1e-5.

Each ReLU of the network is a module and called once: captum's guided backpropagation and deconvnet use hooks on ReLU modules,
raise if one is called twice, and ignore functions. For SmoothGrad, captum's `torch.normal` is replaced so that it returns our
noise. RISE, the curves and the sanity check are not in captum.
"""

from __future__ import annotations

import sys
from unittest import mock

import captum
import numpy as np
import torch
from captum.attr import (
    Deconvolution,
    GuidedBackprop,
    GuidedGradCam,
    InputXGradient,
    IntegratedGradients,
    LayerAttribution,
    LayerGradCam,
    NoiseTunnel,
    Occlusion,
    Saliency,
)
from captum.robust import FGSM

import microtensor as mt
from microtensor import nn, saliency

TOLERANCE = 1e-5

Pair = tuple[mt.Tensor, torch.Tensor]
"""Our result, and captum's."""


def ours() -> nn.Sequential:
    """Convolution, batch normalisation, ReLU, max pooling, twice; two linear layers."""
    mt.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(12 * 4 * 4, 20),
        nn.ReLU(),
        nn.Linear(20, 6),
    ).double()
    generator = np.random.default_rng(0)
    for i in (1, 5):  # as if trained
        norm = model[i]
        norm.running_mean.array[...] = generator.normal(0, 0.2, norm.running_mean.shape)
        norm.running_var.array[...] = generator.uniform(0.5, 2, norm.running_var.shape)
        norm.weight.array[...] = generator.normal(1, 0.3, norm.weight.shape)
        norm.bias.array[...] = generator.normal(0, 0.3, norm.bias.shape)
    return model.eval()


def theirs(model: nn.Sequential) -> torch.nn.Sequential:
    """The same in PyTorch."""
    t = torch.nn
    twin = t.Sequential(
        t.Conv2d(3, 8, 3, padding=1),
        t.BatchNorm2d(8),
        t.ReLU(),
        t.MaxPool2d(2),
        t.Conv2d(8, 12, 3, padding=1),
        t.BatchNorm2d(12),
        t.ReLU(),
        t.MaxPool2d(2),
        t.Flatten(),
        t.Linear(12 * 4 * 4, 20),
        t.ReLU(),
        t.Linear(20, 6),
    ).double()
    twin.load_state_dict({name: torch.tensor(value.numpy()) for name, value in model.state_dict().items()})
    return twin.eval()


def compared() -> dict[str, Pair]:
    """For each method: our result and captum's."""
    model = ours()
    twin = theirs(model)
    images = np.random.default_rng(1).standard_normal((4, 3, 16, 16))
    x, target = mt.Tensor(images), [0, 5, 3, 3]
    x_t, target_t = torch.tensor(images), torch.tensor(target)
    baseline = np.random.default_rng(2).standard_normal((3, 16, 16)) * 0.3
    baseline_t = torch.tensor(baseline)[None]

    def leaf() -> torch.Tensor:
        return x_t.clone().requires_grad_()

    integrated = saliency.integrated_gradients(model, x, target, None, baseline, 50, return_convergence_delta=True)
    integrated_t, delta_t = IntegratedGradients(twin).attribute(
        leaf(), baseline_t, target=target_t, n_steps=50, return_convergence_delta=True
    )
    attack_t = FGSM(torch.nn.Sequential(twin, torch.nn.Softmax(1)), lower_bound=-2.0, upper_bound=2.0)
    attack_t.zero_thresh = 0.0  # by default it treats gradients below 1e-6 as 0; ours uses their sign
    return {
        "gradient / Saliency": (
            saliency.gradient(model, x, target, None),
            Saliency(twin).attribute(leaf(), target_t, abs=False),
        ),
        "gradient, max / Saliency, abs": (
            saliency.gradient(model, x, target),
            Saliency(twin).attribute(leaf(), target_t).amax(1),
        ),
        "input_x_gradient / InputXGradient": (
            saliency.input_x_gradient(model, x, target, None),
            InputXGradient(twin).attribute(leaf(), target_t),
        ),
        "smooth_grad / NoiseTunnel(Saliency)": smooth_grads(model, twin, images, target),
        "integrated_gradients / IntegratedGradients": (integrated.map, integrated_t),
        "    its completeness error": (integrated.delta, delta_t),
        "guided_backprop / GuidedBackprop": (
            saliency.guided_backprop(model, x, target, None),
            GuidedBackprop(twin).attribute(leaf(), target_t),
        ),
        "deconvnet / Deconvolution": (
            saliency.deconvnet(model, x, target, None),
            Deconvolution(twin).attribute(leaf(), target_t),
        ),
        **grad_cams(model, twin, images, target),
        "occlusion / Occlusion": (
            saliency.occlusion(model, x, target, (5, 4), (3, 2), baseline),
            Occlusion(twin).attribute(x_t, (3, 5, 4), (3, 3, 2), baselines=baseline_t.expand(4, -1, -1, -1), target=target_t)[
                :, 0
            ],
        ),
        "fgsm / FGSM": (
            saliency.fgsm(model, x, 0.1, target, lower_bound=-2.0, upper_bound=2.0).images,
            attack_t.perturb(leaf(), 0.1, target_t),
        ),
    }


def smooth_grads(model: nn.Sequential, twin: torch.nn.Sequential, images: np.ndarray, target: list[int]) -> Pair:
    """SmoothGrad with the same noise."""
    samples, noise = 8, 0.15
    drawn = mt.Generator(3).normal(0, 1, (samples, *images.shape), np.float64)
    spread = noise * np.ptp(images.reshape(4, -1), axis=1).reshape(4, 1, 1, 1)
    # captum orders samples as (N, samples), we as (samples, N).
    given = torch.tensor((drawn * spread).swapaxes(0, 1).reshape(-1, *images.shape[1:]))
    with mock.patch("torch.normal", return_value=given):
        theirs = NoiseTunnel(Saliency(twin)).attribute(
            torch.tensor(images, requires_grad=True),
            nt_type="smoothgrad",
            nt_samples=samples,
            target=torch.tensor(target),
            abs=False,
        )
    return saliency.smooth_grad(model, mt.Tensor(images), target, None, samples, noise, mt.Generator(3)), theirs


def grad_cams(model: nn.Sequential, twin: torch.nn.Sequential, images: np.ndarray, target: list[int]) -> dict[str, Pair]:
    """Grad-CAM and its combination with guided backpropagation."""
    x, x_t, target_t = mt.Tensor(images), torch.tensor(images, requires_grad=True), torch.tensor(target)
    cam = LayerGradCam(twin, twin[4])
    enlarged = LayerAttribution.interpolate(
        cam.attribute(x_t, target_t, relu_attributions=True), (16, 16), interpolate_mode="bilinear"
    )
    return {
        "grad_cam / LayerGradCam": (
            saliency.grad_cam(model, x, target, "4", relu=False, upsample=False),
            cam.attribute(x_t, target_t)[:, 0],
        ),
        "grad_cam, enlarged / LayerAttribution.interpolate": (saliency.grad_cam(model, x, target, "4"), enlarged[:, 0]),
        "guided_grad_cam / GuidedGradCam": (
            saliency.guided_grad_cam(model, x, target, None, "4"),
            GuidedGradCam(twin, twin[4]).attribute(x_t, target_t, interpolate_mode="bilinear"),
        ),
    }


def main() -> int:
    """Compare, print the table, and return the exit status."""
    pairs = compared()
    print(f"captum {captum.__version__}, PyTorch {torch.__version__}, microtensor {mt.__version__}, NumPy {np.__version__}\n")
    print(f"{'method':50s}  {'largest value':>14s}  {'difference over it':>18s}")
    worst = 0.0
    for name, (a, b) in pairs.items():
        mine, their = a.numpy(), b.detach().numpy()
        if mine.shape != their.shape:
            print(f"{name:50s}  shapes differ: {mine.shape}, {their.shape}")
            return 1
        largest = float(np.abs(their).max())
        difference = float(np.abs(mine - their).max()) / largest
        worst = max(worst, difference)
        print(f"{name:50s}  {largest:14.5g}  {difference:18.2g}")
    print(f"\nlargest: {worst:.2g}; allowed: {TOLERANCE:g}")
    return int(not worst <= TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
