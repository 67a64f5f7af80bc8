"""Mistakes that show two layers later: a forward without return, arguments in each other's place, channels in the last axis."""

import numpy as np
import pytest

import microtensor as mt
from microtensor import Tensor, nn
from microtensor.autograd.arguments import nothing


@pytest.fixture(autouse=True)
def nobody_has_returned_none():
    nothing[0] = None


class Block(nn.Module):
    def __init__(self):
        self.fc = nn.Linear(3, 3)

    def forward(self, x):
        self.fc(x)


X = np.ones((2, 3), np.float32)
NEXT = {
    "Linear": lambda: nn.Linear(3, 2),
    "ReLU": nn.ReLU,
    "Flatten": nn.Flatten,
    "Tanh": nn.Tanh,
    "Softmax": lambda: nn.Softmax(1),
    "Dropout": nn.Dropout,
    "Conv2d": lambda: nn.Conv2d(1, 1, 1),
    "BatchNorm1d": lambda: nn.BatchNorm1d(3),
    "GroupNorm": lambda: nn.GroupNorm(1, 3),
    "LayerNorm": lambda: nn.LayerNorm(3),
    "MaxPool2d": lambda: nn.MaxPool2d(2),
    "AvgPool2d": lambda: nn.AvgPool2d(2),
    "AdaptiveAvgPool2d": lambda: nn.AdaptiveAvgPool2d(1),
    "Upsample": lambda: nn.Upsample(scale_factor=2),
    "Unfold": lambda: nn.Unfold(2),
    "PixelShuffle": lambda: nn.PixelShuffle(2),
    "ZeroPad2d": lambda: nn.ZeroPad2d(1),
    "LocalResponseNorm": lambda: nn.LocalResponseNorm(2),
    "Residual": lambda: nn.Residual(nn.Identity()),
}
HINT = r"Block\.forward returned None: is `return` missing\?"


@pytest.mark.parametrize("after", NEXT.values(), ids=NEXT)
def test_a_forward_without_return_is_told_so_by_the_next_layer(after):
    net = nn.Sequential(Block(), after())
    with pytest.raises((TypeError, ValueError, AttributeError), match=rf"^1 .*{HINT}$") as caught:
        net(Tensor(X))
    assert str(caught.value).count("returned None") == 1
    layer, nothing_there = after(), Block()(Tensor(X))
    with pytest.raises((TypeError, ValueError, AttributeError), match=HINT):
        layer(nothing_there)


@pytest.mark.parametrize(
    "loss",
    [
        lambda y: nn.CrossEntropyLoss()(y, [0, 1]),
        lambda y: nn.cross_entropy(y, [0, 1]),
        lambda y: nn.nll_loss(y, [0, 1]),
        lambda y: nn.mse_loss(y, X),
        lambda y: nn.L1Loss()(y, Tensor(X)),
        lambda y: nn.huber_loss(y, X),
        lambda y: nn.binary_cross_entropy(y, X),
        lambda y: nn.binary_cross_entropy_with_logits(y, X),
        lambda y: nn.kl_div(y, X),
        mt.relu,
        lambda y: nn.conv2d(y, mt.ones(1, 1, 1, 1)),
    ],
)
def test_a_forward_without_return_is_told_so_by_a_loss(loss):
    for net in (Block(), nn.Sequential(nn.Linear(3, 3), Block()), nn.Sequential(nn.Sequential(Block()), nn.Identity())):
        with pytest.raises(TypeError, match=HINT):
            loss(net(Tensor(X)))


def test_a_none_that_no_module_returned_is_not_laid_to_one():
    with pytest.raises(TypeError, match="linear: x must be a Tensor, got None") as caught:
        nn.Linear(3, 3)(None)
    assert "returned None" not in str(caught.value)
    Block()(Tensor(X))
    with pytest.raises(ValueError, match="takes 3 features") as caught:
        nn.Linear(3, 3)(mt.ones(2, 4))
    assert "returned None" not in str(caught.value)


LABELS = np.array([0, 1, 2, 3])
LOGITS = np.random.default_rng(0).standard_normal((4, 4))


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
@pytest.mark.parametrize(
    ("labels", "logits"),
    [
        (LABELS, LOGITS),
        ([0, 1, 2, 3], LOGITS),
        (Tensor(LABELS), LOGITS),
        (Tensor(LABELS).to("float32"), LOGITS),
        (Tensor(LABELS).to("float64"), LOGITS),
        (Tensor(LABELS[None]).to("float64"), LOGITS),
        (Tensor(LABELS).to("int32"), LOGITS.astype(np.float32)),
        (Tensor(np.array(2)), LOGITS[0]),
        (Tensor(np.array(2.0)), LOGITS[0]),
        (np.zeros((2, 4, 4), np.int64), np.ones((2, 3, 4, 4))),
        (Tensor(np.zeros((2, 4, 4))), np.ones((2, 3, 4, 4))),
        (Tensor(np.eye(4, dtype=np.int64)), LOGITS),
        (Tensor(LABELS[:, None]), LOGITS),
    ],
)
def test_labels_before_logits_are_told_so(name, labels, logits):
    what = "logits" if name == "cross_entropy" else "x"
    with pytest.raises(TypeError, match=rf"^{name}: {what} and target are swapped: got .*; write {name}\({what}, target\)$"):
        getattr(nn, name)(labels, Tensor(logits))
    layer = nn.CrossEntropyLoss() if name == "cross_entropy" else nn.NLLLoss()
    if isinstance(labels, Tensor):
        with pytest.raises(TypeError, match="are swapped"):
            layer(labels, Tensor(logits))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.cross_entropy(Tensor(LOGITS), Tensor(LABELS).to("float32")), "labels must be integers of shape"),
        (lambda: nn.cross_entropy(Tensor(LOGITS), Tensor(LABELS[:, None] * 1.0)), "labels must be integers of shape"),
        (lambda: nn.cross_entropy(LOGITS, LABELS), "expected logits as a Tensor, got ndarray; wrap it"),
        (lambda: nn.cross_entropy(Tensor(LABELS), LABELS), "expected floating-point logits, got int64"),
        (lambda: nn.cross_entropy(LOGITS, Tensor(LABELS * 1.0)), "expected logits as a Tensor, got ndarray; wrap it"),
        (lambda: nn.cross_entropy(Tensor(LOGITS[0]), Tensor(LOGITS[0, :, None])), "labels must be integers of shape"),
        (
            lambda: nn.cross_entropy(Tensor(LOGITS[0]), Tensor(LOGITS[0, :, None]).array),
            "labels must be integers of shape",
        ),
        (lambda: nn.nll_loss(Tensor(LOGITS[:, 0]), Tensor(LOGITS)), "labels must be integers of shape"),
        (lambda: nn.mse_loss(LABELS, Tensor(LABELS * 1.0)), r"wrap it: .*; the prediction comes first: mse_loss\(x, target\)"),
        (lambda: nn.binary_cross_entropy(Tensor(LABELS), Tensor(LABELS * 0.1)), "the prediction comes first"),
        (lambda: nn.BCEWithLogitsLoss()(mt.tensor([0, 1]), Tensor([3.0, 1.0])), "the prediction comes first"),
    ],
)
def test_other_mistakes_keep_their_words(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_shares_before_logits_are_told_so_on_a_cpu():
    """Of one shape and dtype they can be told apart by their numbers alone; on a GPU the host would have to wait for these."""
    eye, logits = (Tensor(x, device="cpu") for x in (np.eye(4), LOGITS))
    for name, what in (("cross_entropy", "logits"), ("binary_cross_entropy_with_logits", "x")):
        with pytest.raises(TypeError, match=rf"{name}: {what} and target are swapped"):
            getattr(nn, name)(eye, logits)
        assert np.isfinite(getattr(nn, name)(logits, eye).item())


def test_what_only_looks_swapped_is_computed():
    ones, halves = mt.ones(3), mt.full((3,), 0.5)
    for x, target in ((ones, halves), (mt.zeros(3), halves), (Tensor([0.0, 1.0, 1.0]), Tensor([1.0, 0.0, 0.5]))):
        assert np.isfinite(nn.binary_cross_entropy_with_logits(x, target).item())
    assert np.isfinite(nn.cross_entropy(mt.eye(3), mt.eye(3)).item())
    assert np.isfinite(nn.cross_entropy(mt.zeros(2, 2), Tensor([[3.0, -2.0], [0.0, 0.0]])).item())  # weights, not probabilities


@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy_with_logits"])
def test_a_prediction_that_learns_is_in_its_place_whatever_its_numbers(name):
    """As behind a step function, or where the target is probabilities times rewards."""
    x, target = Tensor([[0.0, 1.0], [1.0, 0.0]], requires_grad=True), Tensor([[-0.3, 0.0], [0.0, 1.7]])
    getattr(nn, name)(x, target).backward()
    assert np.abs(x.grad.numpy()).min() > 0
    if x.device == "cpu":
        with pytest.raises(TypeError, match="are swapped"):
            getattr(nn, name)(x.detach(), target)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_loss_of_probabilities_has_the_dtype_of_its_arguments_with_weights_too(dtype, reduction, smoothing):
    logits = Tensor(LOGITS).to(dtype)
    logits.requires_grad = True
    target, weight = mt.softmax(Tensor(LOGITS.T), dim=1).to(dtype), Tensor([1.0, 2.0, 0.5, 0.1]).to(dtype)
    loss = nn.cross_entropy(logits, target, weight, reduction=reduction, label_smoothing=smoothing)
    expected = nn.cross_entropy(
        logits.detach().to("float64"), target.to("float64"), weight.to("float64"), -100, reduction, smoothing
    )
    assert loss.dtype == dtype
    np.testing.assert_allclose(loss.numpy(), expected.numpy(), rtol=2e-3 if dtype == "float16" else 1e-5)
    loss.sum().backward()
    assert logits.grad.dtype == dtype


@pytest.mark.parametrize(("layer", "shape"), [(nn.Conv2d(3, 4, 3), (8, 9, 3)), (nn.Conv1d(3, 4, 3), (8, 3))])
def test_one_image_with_its_channels_last_is_told_what_makes_it_a_batch(layer, shape):
    x = mt.ones(*shape)
    with pytest.raises(ValueError, match=r"with the channels last: x\.movedim\(-1, 0\)\.unsqueeze\(0\)"):
        layer(x)
    assert layer(x.movedim(-1, 0).unsqueeze(0)).shape[:2] == (1, 4)
    with pytest.raises(ValueError, match=r"needs a batch axis: x\.unsqueeze\(0\)"):
        layer(mt.ones(3, *shape[:-1]))


def test_the_first_argument_of_a_layer_goes_by_pytorchs_name_too():
    layer, x = nn.Linear(3, 2), Tensor(X)
    np.testing.assert_array_equal(layer(input=x).numpy(), layer(x).numpy())
    assert nn.MSELoss()(input=x, target=X).item() == nn.CrossEntropyLoss()(input=x, target=[0, 1]).item() * 0
    with layer.register_forward_pre_hook(lambda module, args: (args[0] * 0,)):
        np.testing.assert_array_equal(layer(input=x).numpy(), layer(x * 0).numpy())
    with pytest.raises(TypeError, match="unexpected keyword argument 'input'"):
        Block()(input=x)
    with pytest.raises(TypeError, match="'input'"):
        layer(x, input=x)
