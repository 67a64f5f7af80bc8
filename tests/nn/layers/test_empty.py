"""Nothing goes through every layer, forward and backward: batches of 0, channels of 0; compared with PyTorch's layers.

The sizes lie on both sides of each threshold that chooses a way: positions from which on BLAS sums a channel, bytes from which on
threads share the work, small images of a depthwise convolution, rows, columns, one pixel.
"""

import numpy as np
import pytest

import microtensor as mt
from microtensor import nn

torch = pytest.importorskip("torch")

LAYERS = """
Conv1d(3, 4, 3): 0,3,9 0,3,130 0,3,5000
Conv1d(3, 4, 1): 0,3,9 0,3,5000
Conv1d(4, 4, 3, groups=4): 0,4,9 0,4,5000
Conv2d(3, 4, 3): 0,3,4,4 0,3,13,13 0,3,14,14 0,3,224,224
Conv2d(3, 4, 3, bias=False): 0,3,14,14
Conv2d(3, 4, 1): 0,3,4,4 0,3,32,32
Conv2d(3, 4, 1, stride=2): 0,3,4,4 0,3,32,32
Conv2d(16, 4, 3, padding=1): 0,16,4,4 0,16,32,32
Conv2d(96, 12, 3, padding=1): 0,96,4,4 0,96,32,32
Conv2d(64, 64, 3, padding=1): 0,64,4,4 0,64,32,32
Conv2d(4, 8, 3, stride=2, padding=1, dilation=2, groups=2): 0,4,9,9 0,4,33,33
Conv2d(4, 4, 3, padding=1, groups=4): 0,4,3,3 0,4,7,7 0,4,32,32
Conv2d(4, 4, 5, padding=2, stride=2, groups=4): 0,4,3,3 0,4,7,7 0,4,32,32
Conv2d(4, 4, 7, padding=3, groups=4): 0,4,3,3 0,4,7,7 0,4,32,32
Conv2d(4, 8, 3, groups=4): 0,4,7,7 0,4,32,32
Conv2d(3, 4, 3, padding="same"): 0,3,5,5 0,3,14,14
Conv2d(3, 4, 3, padding=1, padding_mode="reflect"): 0,3,5,5 0,3,14,14
Conv2d(3, 4, 3, padding=1, padding_mode="circular"): 0,3,5,5 0,3,14,14
ConvTranspose1d(3, 4, 3): 0,3,9 0,3,200
ConvTranspose2d(3, 4, 3): 0,3,4,4 0,3,10,10 0,3,32,32
ConvTranspose2d(3, 4, 3, bias=False): 0,3,10,10
ConvTranspose2d(4, 8, 3, stride=2, padding=1, output_padding=1, groups=2): 0,4,4,4 0,4,32,32
ConvTranspose2d(4, 4, 3, stride=2, groups=4): 0,4,4,4 0,4,32,32
ConvTranspose2d(4, 4, 5, groups=4): 0,4,4,4 0,4,32,32
ConvTranspose2d(64, 12, 3): 0,64,4,4 0,64,32,32
ConvTranspose2d(3, 4, 1): 0,3,4,4 0,3,32,32
Unfold(3, padding=1, stride=2): 0,3,5,5 0,3,33,33
Fold((5, 5), 3, padding=1): 0,27,25
Fold((20, 20), 3, padding=1): 0,27,400
Linear(7, 3): 0,7 0,2,7 3,0,7 0,0,7
Linear(7, 3, bias=False): 0,7
Linear(2000, 1000): 0,2000
Flatten(): 0,3,4,5
Unflatten(1, (3, 2)): 0,6 0,6,4
Identity(): 0,3
BatchNorm1d(3).eval(): 0,3 0,3,9 0,3,130
BatchNorm2d(3).eval(): 0,3,4,4 0,3,12,12 0,3,64,64
BatchNorm2d(3, affine=False).eval(): 0,3,12,12
BatchNorm1d(3): 0,3 0,3,9 0,3,130
BatchNorm2d(3): 0,3,4,4 0,3,12,12 0,3,64,64
BatchNorm2d(3, affine=False): 0,3,12,12
BatchNorm2d(3, track_running_stats=False): 0,3,12,12
BatchNorm2d(3, momentum=None): 0,3,12,12
InstanceNorm1d(3, affine=True): 0,3,9 0,3,130
InstanceNorm2d(3): 0,3,12,12
InstanceNorm2d(3, affine=True): 0,3,4,4 0,3,12,12 0,3,64,64
InstanceNorm2d(3, affine=True, track_running_stats=True): 0,3,4,4 0,3,12,12
InstanceNorm2d(3, affine=True, track_running_stats=True).eval(): 0,3,4,4 0,3,12,12
GroupNorm(1, 4): 0,4,4,4 0,4,12,12 0,4
GroupNorm(2, 4): 0,4,4,4 0,4,12,12 0,4,9 0,4,64,64
GroupNorm(4, 4): 0,4,12,12
GroupNorm(2, 4, affine=False): 0,4,12,12
LayerNorm(7): 0,7 0,2,7 3,0,7
LayerNorm((3, 130)): 0,3,130
LayerNorm(7, bias=False): 0,7
LayerNorm(7, elementwise_affine=False): 0,7
RMSNorm(7): 0,7 3,0,7
LocalResponseNorm(3): 0,4,5,5 0,4,64,64
MaxPool1d(2): 0,3,9 0,3,200
MaxPool2d(2): 0,3,4,4 0,3,64,64
MaxPool2d(3, stride=2, padding=1): 0,3,4,4 0,3,64,64
MaxPool2d(2, ceil_mode=True): 0,3,5,5
MaxPool2d(2, dilation=2): 0,3,5,5
AvgPool1d(2): 0,3,9 0,3,200
AvgPool2d(2): 0,3,4,4 0,3,64,64
AvgPool2d(3, stride=2, padding=1, count_include_pad=False): 0,3,4,4 0,3,64,64
AvgPool2d(2, ceil_mode=True, divisor_override=3): 0,3,5,5
AdaptiveAvgPool1d(3): 0,3,9 0,3,10
AdaptiveAvgPool2d(1): 0,3,4,4 0,3,64,64
AdaptiveAvgPool2d(3): 0,3,9,9 0,3,10,10 0,3,64,64
AdaptiveMaxPool1d(3): 0,3,9 0,3,10
AdaptiveMaxPool2d(1): 0,3,4,4 0,3,64,64
AdaptiveMaxPool2d(3): 0,3,9,9 0,3,10,10 0,3,64,64
Upsample(scale_factor=2): 0,3,4,4 0,3,64,64 0,3,9
Upsample(size=7, mode="nearest-exact"): 0,3,4,4 0,3,64,64
Upsample(scale_factor=2, mode="linear"): 0,3,9
Upsample(scale_factor=2, mode="bilinear"): 0,3,4,4 0,3,64,64
Upsample(size=(3, 9), mode="bicubic", align_corners=True): 0,3,4,4 0,3,64,64
Upsample(size=(3, 9), mode="area"): 0,3,6,9 0,3,64,64
UpsamplingNearest2d(scale_factor=2): 0,3,4,4
UpsamplingBilinear2d(scale_factor=2): 0,3,4,4
ZeroPad1d(1): 0,3,4
ZeroPad2d((1, -1, 0, 2)): 0,3,4,4
ConstantPad1d(2, 1.5): 0,3,4
ConstantPad2d(2, 1.5): 0,3,4,4
ReflectionPad1d(2): 0,3,4
ReflectionPad2d(2): 0,3,4,4
ReplicationPad1d(2): 0,3,4
ReplicationPad2d(2): 0,3,4,4
CircularPad1d(2): 0,3,4
CircularPad2d(2): 0,3,4,4
PixelShuffle(2): 0,8,3,4
PixelUnshuffle(2): 0,2,4,6
ChannelShuffle(2): 0,4,3,3
PReLU(): 0,3 0,3,12,12 0
PReLU(3): 0,3 0,3,12,12
Dropout(0.5): 0,3 3,0
Dropout1d(0.5): 0,3,4
Dropout2d(0.5): 0,3,4,4 0,3,64,64
AlphaDropout(0.5): 0,3
FeatureAlphaDropout(0.5): 0,3,4,4
RReLU(): 0,3
GLU(1): 0,4 0,4,3
GLU(): 0,4
Softmax(1): 0,3 0,3,4,4
Softmax(0): 0,3
LogSoftmax(1): 0,3 0,3,4,4
LogSoftmax(0): 0,3
Softmin(1): 0,3
Softmax2d(): 0,3,4,4
"""
ELEMENTWISE = (
    "CELU ELU GELU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid Mish ReLU ReLU6 SELU Sigmoid SiLU "
    "Softplus Softshrink Softsign Tanh Tanhshrink"
)
CASES = [
    (layer, tuple(map(int, shape.split(","))))
    for line in LAYERS.strip().splitlines()
    for layer, shapes in [line.rsplit(": ", 1)]
    for shape in shapes.split()
] + [(f"{name}()", (0, 3)) for name in ELEMENTWISE.split()]


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


NOTHING_ELSEWHERE = """
Conv2d(3, 4, 3): 2,3,0,4
Conv2d(3, 4, 3, padding=2): 2,3,0,4
Conv2d(3, 4, 1): 2,3,0,4 2,3,0,0
ConvTranspose2d(3, 4, 3): 2,3,0,4
Linear(3, 2): 2,0,3
Flatten(): 0,3,0 2,3,0
BatchNorm1d(3): 2,3,0
BatchNorm2d(3): 2,3,0,4 0,3,1,1
BatchNorm2d(3).eval(): 2,3,0,4
InstanceNorm2d(3): 2,3,0,4
InstanceNorm2d(3, affine=True, track_running_stats=True): 2,3,0,4
GroupNorm(3, 3): 0,3 0,3,1,1
GroupNorm(3, 3, affine=False): 2,3,0,4
LayerNorm(1): 0,1
MaxPool2d(2): 2,3,0,4 2,0,4,4
MaxPool2d(2, padding=1): 2,3,0,4
AvgPool2d(2): 2,3,0,4 2,0,4,4
AvgPool2d(2, padding=1, count_include_pad=False): 2,3,0,4
AvgPool2d(2, padding=1): 2,3,0,4
MaxPool1d(2, padding=1): 2,3,0
AdaptiveAvgPool2d(1): 2,0,4,4
AdaptiveAvgPool2d(2): 2,0,4,4 2,3,0,4
AdaptiveMaxPool2d(2): 2,0,4,4 2,3,0,4
AdaptiveMaxPool1d(2): 2,0,4 2,3,0
Upsample(scale_factor=2): 2,3,0,4 2,0,4,4
Upsample(scale_factor=2, mode="bilinear"): 2,0,4,4
Upsample(scale_factor=2, mode="bicubic"): 2,0,4,4
Upsample(scale_factor=2, mode="area"): 2,0,4,4
ZeroPad2d(1): 2,3,0,4 2,0,4,4
ReflectionPad2d(1): 2,0,4,4 2,3,0,4
ReplicationPad2d(1): 2,3,0,4 2,0,4,4
CircularPad2d(1): 2,0,4,4 2,3,0,4
CircularPad2d(0): 2,3,0,4
PixelShuffle(2): 2,0,4,4 2,4,0,4
PixelUnshuffle(2): 2,1,0,4
ChannelShuffle(2): 2,0,3,3 2,4,0,3
Unfold(2): 2,0,4,4 2,3,0,4
Unfold(2, padding=2): 2,3,0,4
Fold(4, 2): 2,0,9
Softmax(1): 2,0
LogSoftmax(1): 2,0
Softmax2d(): 0,0,2,2
Dropout2d(0.5): 2,0,4,4 2,3,0,4
LocalResponseNorm(3): 2,0,4,4 2,3,0,4
GLU(1): 2,0
PReLU(): 2,0,3
"""


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layer, tuple(map(int, shape.split(","))))
        for line in NOTHING_ELSEWHERE.strip().splitlines()
        for layer, shapes in [line.rsplit(": ", 1)]
        for shape in shapes.split()
    ],
)
def test_nothing_in_another_axis_is_computed_or_refused_in_words(layer, shape):
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
def test_a_loss_of_nothing_is_pytorchs(case, reduction):
    name, (shape, target) = case.partition(" ")[0], LOSSES[case]
    x, there = mt.Tensor(np.zeros(shape, np.float32), requires_grad=True), torch.zeros(shape, requires_grad=True)
    loss = getattr(nn, name)(x, target(), reduction=reduction)
    expected = getattr(torch.nn.functional, name)(there, torch.tensor(target()), reduction=reduction)
    np.testing.assert_array_equal(loss.numpy(), expected.detach().numpy(), strict=True)
    loss.sum().backward()
    assert x.grad.shape == shape


def test_an_empty_batch_of_words_of_pairs_and_of_maxima():
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
