"""Empty batches and empty axes through every layer, forward and backward, compared with PyTorch's layers."""

import layer_tables
import numpy as np
import pytest

import microtensor as mt
from microtensor import nn

torch = pytest.importorskip("torch")

CASES = layer_tables.shapes(layer_tables.EMPTY_BATCH) + [(f"{name}()", (0, 3)) for name in layer_tables.ELEMENTWISE.split()]


def test_every_layer_is_in_the_table():
    assert layer_tables.layers() <= layer_tables.names(layer_tables.EMPTY_BATCH)


def made(layer, library):
    return eval(layer, vars(library).copy())


def computed(function, *arguments):
    """The result, or None, and what the error says."""
    try:
        return function(*arguments), ""
    except ValueError as error:
        return None, str(error)


def in_pytorch(layer, shape):
    """Shapes of the result and of all gradients of first order, and the state after; or None where PyTorch refuses."""
    theirs = made(layer, torch.nn)
    x = torch.zeros(shape, requires_grad=True)
    try:
        y = theirs(x)
        y.sum().backward()
    except (RuntimeError, IndexError):
        return None
    gradients = {"x": x.grad} | {name: p.grad for name, p in theirs.named_parameters()}
    return tuple(y.shape), {name: g.numpy() for name, g in gradients.items()}, theirs.state_dict()


@pytest.mark.parametrize(("layer", "shape"), CASES, ids=map(str, CASES))
def test_a_layer_of_an_empty_batch_is_pytorchs(layer, shape):
    ours, x = made(layer, nn), mt.Tensor(np.zeros(shape, np.float32), requires_grad=True)
    theirs = in_pytorch(layer, shape)
    y = ours(x)
    y.sum().backward()
    if theirs is None:
        return
    expected, gradients, state = theirs
    assert y.shape == expected
    assert y.dtype == np.float32
    for name, parameter in [("x", x), *ours.named_parameters()]:
        np.testing.assert_array_equal(parameter.grad.numpy(), gradients[name], strict=True)
    for name, value in ours.state_dict().items():
        if "running" in name or "tracked" in name and ours.momentum is not None:
            np.testing.assert_array_equal(value.numpy(), state[name].numpy())


@pytest.mark.parametrize(("layer", "shape"), CASES, ids=map(str, CASES))
def test_gradients_of_second_order_of_an_empty_batch_are_zeros(layer, shape):
    ours, x = made(layer, nn).double(), mt.Tensor(np.zeros(shape), requires_grad=True)
    inputs = [x, *ours.parameters()]
    y = ours(x)
    first = mt.grad((y * y).sum(), inputs, create_graph=True, allow_unused=True)
    total = sum((g * g).sum() + g.sum() for g in first if g is not None)
    if not total.requires_grad:
        return
    for tensor, g in zip(inputs, mt.grad(total, inputs, allow_unused=True)):
        assert g is None or g.shape == tensor.shape and g.dtype == np.float64 and not g.numpy().any()


@pytest.mark.parametrize(("layer", "shape"), layer_tables.shapes(layer_tables.EMPTY_AXIS))
def test_another_empty_axis_is_computed_or_refused(layer, shape):
    """Where PyTorch computes, so do we. Where it refuses, the result follows from the formula, or is refused by the layer's name."""
    ours, x = made(layer, nn), mt.Tensor(np.zeros(shape, np.float32), requires_grad=True)
    theirs = in_pytorch(layer, shape)
    y, words = computed(ours, x)
    if y is None:
        assert theirs is None
        name = {"Upsample": "interpolate"}.get(type(ours).__name__, type(ours).__name__)
        assert words.partition(":")[0].replace("_", "") in (name.lower(), "adaptiveavgpool2d", "pad"), words
        return
    y.sum().backward()
    assert np.isfinite(y.numpy()).all()
    assert x.grad.shape == shape
    if theirs is not None:
        assert y.shape == theirs[0]
        for name, parameter in ours.named_parameters():
            np.testing.assert_array_equal(parameter.grad.numpy(), theirs[1][name], strict=True)


FUNCTIONS = {
    "conv2d of no channels": lambda x, w: nn.conv2d(x(2, 0, 4, 4), w(3, 0, 3, 3), w(3)),
    "conv2d of no channels, 1×1": lambda x, w: nn.conv2d(x(2, 0, 40, 40), w(3, 0, 1, 1), w(3)),
    "conv2d of no channels, groups": lambda x, w: nn.conv2d(x(2, 0, 4, 4), w(4, 0, 3, 3), w(4), groups=2),
    "conv1d of no channels": lambda x, w: nn.conv1d(x(2, 0, 4), w(3, 0, 3), w(3), stride=2),
    "conv2d of no pixels, padded": lambda x, w: nn.conv2d(x(2, 3, 0, 4), w(3, 3, 3, 3), w(3), padding=2),
    "conv_transpose2d of no channels": lambda x, w: nn.conv_transpose2d(x(2, 0, 4, 4), w(0, 3, 3, 3), w(3), stride=2),
}


@pytest.mark.parametrize("call", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_sum_over_no_channel_and_no_pixel_is_0_and_the_bias_is_added(call, dtype):
    made = []

    def tensor(*shape):
        made.append(mt.Tensor(np.arange(1, 1 + np.prod(shape)).reshape(shape).astype(dtype), requires_grad=True))
        return made[-1]

    y = call(tensor, tensor)
    bias = made[2]
    expected = np.broadcast_to(bias.numpy().reshape(-1, *(1,) * (y.ndim - 2)), y.shape)
    np.testing.assert_array_equal(y.numpy(), expected, strict=True)
    for tensor, gradient in zip(made, mt.grad(y.sum(), made, create_graph=True)):
        assert gradient.shape == tensor.shape
        assert gradient.dtype == tensor.dtype
        np.testing.assert_array_equal(gradient.numpy(), y.array.size / len(bias) if tensor is bias else 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z: nn.conv2d(z(1, 2, 4, 4), z(0, 2, 3, 3)), r"conv2d: weight \(0, 2, 3, 3\) has no kernels"),
        (lambda z: nn.conv2d(z(0, 0, 4, 4), z(0, 0, 3, 3)), "conv2d: .* has no kernels"),
        (lambda z: nn.conv1d(z(1, 2, 4), z(0, 2, 3), z(0)), "conv1d: .* has no kernels"),
        (lambda z: nn.conv_transpose2d(z(1, 2, 4, 4), z(2, 0, 3, 3)), "conv_transpose2d: .* has no kernels"),
        (lambda z: nn.conv2d(z(1, 2, 4, 4), z(3, 2, 0, 3)), "conv2d: kernel_size must be at least 1"),
    ],
)
def test_a_convolution_without_kernels_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(lambda *shape: mt.Tensor(np.zeros(shape, np.float32)))


LOSSES = {
    "cross_entropy": ((0, 3), lambda: np.zeros(0, np.int64)),
    "cross_entropy of images": ((0, 3, 4, 4), lambda: np.zeros((0, 4, 4), np.int64)),
    "cross_entropy of no pixels": ((2, 3, 0), lambda: np.zeros((2, 0), np.int64)),
    "cross_entropy of probabilities": ((0, 3), lambda: np.zeros((0, 3), np.float32)),
    "nll_loss": ((0, 3), lambda: np.zeros(0, np.int64)),
    "mse_loss": ((0, 3), lambda: np.zeros((0, 3), np.float32)),
    "l1_loss": ((0, 3), lambda: np.zeros((0, 3), np.float32)),
    "huber_loss": ((0, 3), lambda: np.zeros((0, 3), np.float32)),
    "smooth_l1_loss": ((0, 3), lambda: np.zeros((0, 3), np.float32)),
    "kl_div": ((0, 3), lambda: np.zeros((0, 3), np.float32)),
    "binary_cross_entropy": ((0, 3), lambda: np.zeros((0, 3), np.float32)),
    "binary_cross_entropy_with_logits": ((0, 3), lambda: np.zeros((0, 3), np.float32)),
}


@pytest.mark.filterwarnings("ignore:reduction. 'mean'")
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("case", LOSSES)
def test_a_loss_of_an_empty_batch_is_pytorchs(case, reduction):
    name, (shape, target) = case.partition(" ")[0], LOSSES[case]
    x, there = mt.Tensor(np.zeros(shape, np.float32), requires_grad=True), torch.zeros(shape, requires_grad=True)
    loss = getattr(nn, name)(x, target(), reduction=reduction)
    expected = getattr(torch.nn.functional, name)(there, torch.tensor(target()), reduction=reduction)
    np.testing.assert_array_equal(loss.numpy(), expected.detach().numpy(), strict=True)
    loss.sum().backward()
    assert x.grad.shape == shape


def test_empty_batches_of_layers_with_several_inputs():
    table = nn.Embedding(5, 3, padding_idx=0, scale_grad_by_freq=True, max_norm=1.0)
    for words in (np.zeros((0, 4), np.int64), np.zeros((2, 0), np.int64), []):
        y = table(words)
        y.sum().backward()
        assert y.shape == (*np.shape(words), 3)
        assert not table.weight.grad.numpy().any()
    pairs = nn.Bilinear(3, 4, 2)
    pairs(mt.zeros(0, 3), mt.zeros(0, 4)).sum().backward()
    assert [p.grad.shape for p in pairs.parameters()] == [(2, 3, 4), (2,)]
    x = mt.zeros(0, 3, 4, 4, requires_grad=True)
    for size in (4, 64):
        y, indices = nn.max_pool2d(mt.zeros(0, 3, size, size, requires_grad=True), 2, return_indices=True)
        assert nn.max_unpool2d(y, indices, 2).shape == (0, 3, size, size)
        assert indices.dtype == np.int64
    assert nn.normalize(x).shape == nn.rms_norm(x, 4).shape == x.shape
