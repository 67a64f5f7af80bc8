"""Grad-CAM, and guided Grad-CAM."""

import numpy as np
import pytest
from saliency_nets import draw, reused, ruled, twin

import microtensor as mt
from microtensor import nn, saliency

X, TARGET = draw(3, 3, 2, 8, 8), [0, 4, 2]


def by_torch(torch, layer, relu=True):
    """Equations 1 and 2 of the paper, and the maps enlarged by PyTorch."""
    stages = {}
    scores = twin(torch, reused())(torch.tensor(X.numpy(), requires_grad=True), stages)
    (g,) = torch.autograd.grad(scores[range(3), TARGET].sum(), stages[layer])
    small = (g.mean((2, 3), keepdim=True) * stages[layer]).sum(1, keepdim=True).detach()
    small = small.relu() if relu else small
    large = torch.nn.functional.interpolate(small, (8, 8), mode="bilinear")
    return small[:, 0].numpy(), large[:, 0].numpy()


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize(("layer", "stage"), [("conv2", "conv2"), ("six", "six"), (None, "six")])
def test_against_pytorch(layer, stage, relu):
    torch = pytest.importorskip("torch")
    small, large = by_torch(torch, stage, relu)
    model = reused()
    for name in (layer, None if layer is None else model.get_submodule(layer)):
        found = saliency.grad_cam(model, X, TARGET, name, relu=relu, upsample=False)
        np.testing.assert_allclose(found.numpy(), small, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(saliency.grad_cam(model, X, TARGET, name, relu).numpy(), large, rtol=1e-9, atol=1e-12)
    assert np.abs(small).max() > 0.01


def test_guided_grad_cam_is_the_product():
    torch = pytest.importorskip("torch")
    forward = twin(torch, reused(), ruled(torch, True), ruled(torch, True, 6.0))
    leaf = torch.tensor(X.numpy(), requires_grad=True)
    forward(leaf)[range(3), TARGET].sum().backward()
    expected = leaf.grad.numpy() * by_torch(torch, "conv2")[1][:, None]
    found = saliency.guided_grad_cam(reused(), X, TARGET, None, "conv2")
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-12)
    reduced = saliency.guided_grad_cam(reused(), X, TARGET, "mean", "conv2")
    np.testing.assert_allclose(reduced.numpy(), np.abs(expected).mean(1), rtol=1e-9, atol=1e-12)


def test_of_a_layer_that_is_called_twice_the_last_call_counts():
    class Twice(nn.Module):
        def __init__(self):
            self.act = nn.ReLU()

        def forward(self, x):
            return self.act(self.act(x) - 1).sum(dim=(2, 3))

    x = draw(0, 1, 2, 3, 3) * 3
    expected = np.maximum(np.maximum(x.numpy(), 0) - 1, 0)[:, 1]
    np.testing.assert_allclose(saliency.grad_cam(Twice(), x, 1, "act").numpy(), expected, rtol=1e-6)


def test_the_last_layer_with_maps_is_before_the_global_pooling():
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 5, 1), nn.Flatten()
    ).double()
    x = draw(0, 2, 1, 9, 9)
    np.testing.assert_array_equal(saliency.grad_cam(net, x).numpy(), saliency.grad_cam(net, x, layer="2").numpy())


def test_one_image_a_score_function_and_what_stays_as_it_was():
    model = reused()
    model.train()
    model.bn.eval()
    modes = [module.training for module in model.modules()]
    whole = saliency.grad_cam(model, X, 1, "conv2")
    np.testing.assert_allclose(saliency.grad_cam(model, X[2], 1, "conv2").numpy(), whole.numpy()[2], rtol=1e-9, atol=1e-12)
    by_function = saliency.grad_cam(model, X, lambda scores: scores[:, 1], "conv2")
    np.testing.assert_allclose(by_function.numpy(), whole.numpy(), rtol=1e-9, atol=1e-12)
    assert not whole.requires_grad
    assert [module.training for module in model.modules()] == modes
    assert all(not module._hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_hooks_go_after_an_error():
    model = reused()
    with pytest.raises(ValueError, match="target 9 is out of range"):
        saliency.grad_cam(model, X, 9)
    with pytest.raises(ValueError, match="conv2d"):
        saliency.grad_cam(model, draw(0, 1, 3, 8, 8))
    assert all(not module._hooks for module in model.modules())


def test_a_map_without_anything_positive_is_zeros():
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net[0].weight.array[...], net[0].bias.array[...] = 0.0, -1.0
    np.testing.assert_array_equal(saliency.grad_cam(net, mt.ones(1, 4, 4)).numpy(), np.zeros((4, 4)))


@pytest.mark.parametrize(
    ("model", "layer", "error", "message"),
    [
        (lambda x: x.flatten(1), None, ValueError, "no layer of the model returns feature maps"),
        (lambda x: x.flatten(1), "conv1", TypeError, "the model is a function, which has no named layers"),
        (reused(), "conv3", ValueError, "grad_cam: Reused has no layer 'conv3'; there is conv1, "),
        (reused(), 3, TypeError, "layer must be a module of the model or its dotted name, got int"),
        (reused(), nn.ReLU(), ValueError, "the layer ReLU is not in the model"),
        (reused(), "fc", ValueError, r"must return feature maps \(N, C, H, W\), it returns \(3, 5\)"),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(128, 2).double()),
            None,
            ValueError,
            "no layer of the model returns feature maps",
        ),
    ],
)
def test_wrong_layers_are_refused_in_words(model, layer, error, message):
    for method in (saliency.grad_cam, saliency.guided_grad_cam):
        with pytest.raises(error, match=message):
            method(model, X, layer=layer)


def test_a_layer_that_is_not_called_or_not_heard():
    class Deaf(nn.Module):
        def __init__(self):
            self.unused, self.aside = nn.ReLU(), nn.ReLU()

        def forward(self, x):
            self.aside(x)
            return x.sum(dim=(2, 3))

    with pytest.raises(ValueError, match="the layer 'unused' is not called"):
        saliency.grad_cam(Deaf(), X, layer="unused")
    with pytest.raises(ValueError, match="do not depend"):
        saliency.grad_cam(Deaf(), X, layer="aside")
