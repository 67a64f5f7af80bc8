"""The gradient of a score with respect to the image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import microtensor as mt
from microtensor import saliency


def linear(weight):
    """Images (N, C, H, W) → scores (N, classes), with weight (C·H·W, classes)."""
    return lambda x: x.flatten(1) @ weight


def curved(first, second):
    return lambda x: (x.flatten(1) @ first).tanh() @ second


def draw(seed, *shape, dtype=np.float64):
    return mt.Tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from([np.float32, np.float64]),
)
@settings(max_examples=30, deadline=None)
def test_a_linear_model_looks_where_its_weights_are(n, c, h, w, classes, dtype):
    weight, x = draw(0, c * h * w, classes, dtype=dtype), draw(1, n, c, h, w, dtype=dtype)
    target = [(3 * i + 1) % classes for i in range(n)]
    rows = weight.numpy().T[target].reshape(n, c, h, w)
    for reduce, expected in (("max", np.abs(rows).max(1)), ("mean", np.abs(rows).mean(1)), (None, rows)):
        found = saliency.gradient(linear(weight), x, target, reduce)
        assert found.dtype == dtype
        assert not found.requires_grad
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


def test_against_differences():
    first, second, x = draw(0, 18, 5), draw(1, 5, 3), draw(2, 2, 2, 3, 3)
    model, target, h = curved(first, second), [2, 0], 1e-6
    found = saliency.gradient(model, x, target, reduce=None).numpy()
    for index in np.ndindex(x.shape):
        up, down = x.numpy().copy(), x.numpy().copy()
        up[index] += h
        down[index] -= h
        n = index[0]
        change = (model(mt.Tensor(up)).numpy() - model(mt.Tensor(down)).numpy())[n, target[n]] / (2 * h)
        np.testing.assert_allclose(found[index], change, rtol=1e-6, atol=1e-9)


def test_against_pytorch():
    torch = pytest.importorskip("torch")
    first, second, x = (draw(seed, *shape) for seed, shape in enumerate([(48, 7), (7, 10), (5, 3, 4, 4)]))
    leaf = torch.tensor(x.numpy(), requires_grad=True)
    scores = torch.tanh(leaf.flatten(1) @ torch.tensor(first.numpy())) @ torch.tensor(second.numpy())
    scores.max(1).values.sum().backward()
    expected = leaf.grad.abs().amax(1)
    np.testing.assert_allclose(saliency.gradient(curved(first, second), x).numpy(), expected.numpy(), rtol=1e-10)


def test_a_convolutional_network_against_pytorch():
    torch = pytest.importorskip("torch")
    nn = pytest.importorskip("microtensor.nn")
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(36, 3)
    )
    tnn = torch.nn
    twin = tnn.Sequential(
        tnn.Conv2d(1, 4, 3),
        tnn.BatchNorm2d(4),
        tnn.ReLU(),
        tnn.MaxPool2d(2),
        tnn.Flatten(),
        tnn.Dropout(0.5),
        tnn.Linear(36, 3),
    ).eval()
    x = draw(0, 4, 1, 8, 8, dtype=np.float32)
    twin.load_state_dict({name: torch.tensor(value.numpy()) for name, value in model.state_dict().items()}, strict=False)
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}

    found = saliency.gradient(model, x, target=[0, 1, 2, 0])

    leaf = torch.tensor(x.numpy(), requires_grad=True)
    twin(leaf)[range(4), [0, 1, 2, 0]].sum().backward()
    np.testing.assert_allclose(found.numpy(), leaf.grad.abs().amax(1).numpy(), rtol=1e-4, atol=1e-6)
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])


def test_no_target_is_each_images_own_highest_score():
    model, x = curved(draw(0, 12, 6), draw(1, 6, 4)), draw(2, 5, 3, 2, 2)
    best = model(x).argmax(dim=1)
    assert len(set(best.tolist())) > 1
    expected = saliency.gradient(model, x, best).numpy()
    np.testing.assert_array_equal(saliency.gradient(model, x).numpy(), expected)


@pytest.mark.parametrize(
    "target", [[1, 0, 1], (1, 0, 1), np.array([1, 0, 1]), np.array([1, 0, 1], np.uint8), mt.Tensor(np.array([1, 0, 1]))]
)
def test_targets_of_every_kind(target):
    model, x = linear(draw(0, 4, 2)), draw(1, 3, 1, 2, 2)
    expected = [saliency.gradient(model, x[i], t).numpy() for i, t in enumerate([1, 0, 1])]
    np.testing.assert_array_equal(saliency.gradient(model, x, target).numpy(), expected)


@pytest.mark.parametrize("target", [1, np.int64(1), np.array(1)])
def test_one_target_for_all(target):
    model, x = linear(draw(0, 4, 2)), draw(1, 3, 1, 2, 2)
    expected = saliency.gradient(model, x, [1, 1, 1]).numpy()
    np.testing.assert_array_equal(saliency.gradient(model, x, target).numpy(), expected)


def test_one_image():
    model, x = curved(draw(0, 12, 6), draw(1, 6, 4)), draw(2, 3, 2, 2)
    assert saliency.gradient(model, x).shape == (2, 2)
    assert saliency.gradient(model, x, [2], None).shape == (3, 2, 2)
    np.testing.assert_array_equal(
        saliency.gradient(model, x, 2).numpy(), saliency.gradient(model, x.unsqueeze(0), 2).numpy()[0]
    )


def test_an_array_is_as_good_as_a_tensor():
    model, x = linear(draw(0, 4, 2)), draw(1, 3, 1, 2, 2)
    np.testing.assert_array_equal(saliency.gradient(model, x.numpy()).numpy(), saliency.gradient(model, x).numpy())


def test_no_image_at_all():
    found = saliency.gradient(linear(draw(0, 4, 2)), draw(1, 0, 1, 2, 2), [])
    assert found.shape == (0, 2, 2)


def test_weights_get_no_gradient():
    def refuse(g):
        raise AssertionError("the gradient of a weight was computed")

    @mt.op
    def product(x, weight):
        return x.array @ weight.array, (lambda g: g @ weight.T, refuse)

    weight = draw(0, 4, 2).requires_grad_()
    weight.grad = kept = draw(1, 4, 2)
    before = kept.numpy().copy()
    x = draw(2, 3, 1, 2, 2).requires_grad_()
    found = saliency.gradient(lambda x: product(x.flatten(1), weight), x, 1)
    np.testing.assert_allclose(found.numpy(), np.broadcast_to(np.abs(weight.numpy()[:, 1].reshape(2, 2)), (3, 2, 2)))
    assert weight.grad is kept
    assert x.grad is None
    np.testing.assert_array_equal(kept.numpy(), before)


def test_inside_no_grad():
    model, x = linear(draw(0, 4, 2)), draw(1, 3, 1, 2, 2)
    with mt.no_grad():
        found = saliency.gradient(model, x)
        assert not mt.is_grad_enabled()
    np.testing.assert_array_equal(found.numpy(), saliency.gradient(model, x).numpy())


def test_x_stays_as_it_was():
    x = draw(0, 2, 1, 2, 2)
    before = x.numpy().copy()
    saliency.gradient(linear(draw(1, 4, 2)), x)
    assert not x.requires_grad
    np.testing.assert_array_equal(x.numpy(), before)


def test_writing_to_the_result_writes_to_nothing_else():
    weight = draw(0, 1, 1, 2, 2)
    before = weight.numpy().copy()
    found = saliency.gradient(lambda x: (x * weight).sum(dim=(2, 3)), draw(1, 1, 1, 2, 2), reduce=None)
    found.numpy()[:] = 0
    np.testing.assert_array_equal(weight.numpy(), before)
    summed = saliency.gradient(lambda x: x.sum(dim=(2, 3)), draw(1, 1, 1, 2, 2), reduce=None)
    summed.numpy()[:] = 0  # without clone, a read-only view


class Layer:
    def __init__(self, training, *inside):
        self.training = training
        self.inside = inside
        self.seen = None

    def modules(self):
        yield self
        for layer in self.inside:
            yield from layer.modules()

    def __call__(self, x):
        self.seen = [layer.training for layer in self.modules()]
        if self.inside and self.inside[0].training is None:
            raise ValueError("broken")
        return x.sum(dim=(2, 3))


def test_layers_are_in_eval_mode_meanwhile_and_each_in_its_own_afterwards():
    model = Layer(True, Layer(False), Layer(True, Layer(False)))
    before = [layer.training for layer in model.modules()]
    saliency.gradient(model, draw(0, 1, 2, 2, 2))
    assert model.seen == [False] * 4
    assert [layer.training for layer in model.modules()] == before


def test_modes_come_back_after_an_error():
    class Broken(Layer):
        def __call__(self, x):
            raise RuntimeError("broken")

    model = Broken(True, Layer(True), Layer(False))
    with pytest.raises(RuntimeError, match="broken"):
        saliency.gradient(model, draw(0, 1, 2, 2, 2))
    assert [layer.training for layer in model.modules()] == [True, True, False]


def test_a_model_that_is_one_object_with_a_mode():
    class Model:
        training = True

        def __call__(self, x):
            assert not self.training
            return x.sum(dim=(2, 3))

    model = Model()
    saliency.gradient(model, draw(0, 1, 2, 2, 2))
    assert model.training


MODEL, X = linear(draw(0, 4, 3)), draw(1, 2, 1, 2, 2)


@pytest.mark.parametrize(
    ("model", "x", "target", "reduce", "error", "message"),
    [
        (MODEL, X, 3, "max", ValueError, "target 3 is out of range: the classes are 0 to 2"),
        (MODEL, X, [0, -1], "max", ValueError, "target -1 is out of range"),
        (MODEL, X, [0, 1, 2], "max", ValueError, r"one for each of 2 images, got shape \(3,\)"),
        (MODEL, X, [], "max", ValueError, r"got shape \(0,\)"),
        (MODEL, X, [[0, 1]], "max", ValueError, r"got shape \(1, 2\)"),
        (MODEL, X, [[0], [1, 2]], "max", TypeError, "target must be an integer"),
        (MODEL, X, 1.0, "max", TypeError, "target must be an integer"),
        (MODEL, X, True, "max", TypeError, "target must be an integer"),
        (MODEL, X, "cat", "max", TypeError, "target must be an integer"),
        (MODEL, X, mt.Tensor([1, 0]), "max", TypeError, "target must be an integer"),
        (MODEL, X, None, "sum", ValueError, "reduce must be"),
        (MODEL, [[1.0]], None, "max", TypeError, "x must be a Tensor"),
        (MODEL, X.to("int64"), None, "max", TypeError, "x must be floating point, got int64"),
        (MODEL, X.numpy().astype(np.uint8), None, "max", TypeError, "x must be floating point, got uint8"),
        (MODEL, X[0, 0], None, "max", ValueError, r"images \(N, C, H, W\) or one image \(C, H, W\), got shape \(2, 2\)"),
        ("model", X, None, "max", TypeError, "model must be callable"),
        (lambda x: (x, x), X, None, "max", TypeError, r"it returned tuple; pick them out: lambda x: model\(x\)"),
        (lambda x: x, X, None, "max", ValueError, r"floating-point scores \(2, classes\) .* returned float64 \(2, 1, 2, 2\)"),
        (lambda x: x.flatten(1)[:1], X, None, "max", ValueError, r"returned float64 \(1, 4\)"),
        (lambda x: x.flatten(1)[:, :0], X, None, "max", ValueError, r"returned float64 \(2, 0\)"),
        (lambda x: x.flatten(1) > 0, X, None, "max", ValueError, r"returned bool \(2, 4\)"),
        (lambda x: x.detach().flatten(1), X, None, "max", ValueError, "do not depend on x"),
        (lambda x: draw(0, 2, 3).requires_grad_() * 2, X, None, "max", ValueError, "do not depend on x"),
        (mt.no_grad()(MODEL), X, None, "max", ValueError, "do not depend on x"),
    ],
)
def test_errors_in_words(model, x, target, reduce, error, message):
    with pytest.raises(error, match=message):
        saliency.gradient(model, x, target, reduce)


def test_the_five_steps_are_described():
    nn = pytest.importorskip("microtensor.nn")
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).double()
    x, lines = draw(0, 2, 3, 2, 2), []
    found = saliency.gradient(model, x, [2, 0], "mean", explain=True, out=lines.append)
    np.testing.assert_array_equal(found.numpy(), saliency.gradient(model, x, [2, 0], "mean").numpy())
    scores = model(x).numpy()
    assert [line[:2] for line in lines] == ["1.", "2.", "3.", "4.", "5."]
    assert "2 images (2, 3, 2, 2) through the model" in lines[0]
    assert f"(2, 3); the highest of the first image is {scores[0].max():.4g}, of class {scores[0].argmax()}" in lines[1]
    assert "(2, 3); 1 at the explained class, 2, 0, and 0 at the others" in lines[2]
    g = saliency.gradient(model, x, [2, 0], None).numpy()
    assert f"(2, 3, 2, 2), from {g.min():.4g} to {g.max():.4g}" in lines[3]
    assert f"the mean magnitude over the channels: (2, 2, 2), from {found.numpy().min():.4g}" in lines[4]


def test_the_steps_of_a_score_function_are_printed(capsys):
    saliency.gradient(MODEL, X, lambda scores: scores[:, 0] - scores[:, 1], None, explain=True)
    printed = capsys.readouterr().out.splitlines()
    assert printed[2] == "3. seed: (2, 3); the gradient of the target function with respect to each score"
    assert printed[4].startswith("5. reduce: none, the signed gradient is returned: (2, 1, 2, 2)")
    saliency.gradient(MODEL, X)
    assert capsys.readouterr().out == ""


def test_a_score_function_is_asked_as_a_class_is():
    model, x = curved(draw(0, 12, 6), draw(1, 6, 4)), draw(2, 5, 3, 2, 2)
    expected = saliency.gradient(model, x, 2, None).numpy()
    np.testing.assert_allclose(saliency.gradient(model, x, lambda s: s[:, 2], None).numpy(), expected, rtol=1e-12)
    difference = expected - saliency.gradient(model, x, 0, None).numpy()
    np.testing.assert_allclose(
        saliency.gradient(model, x, lambda s: s[:, 2] - s[:, 0], None).numpy(), difference, rtol=1e-9, atol=1e-12
    )


def test_a_score_function_may_ask_maps():
    """The model returns (N, classes, H, W); the score is one position of one class."""
    weight = draw(0, 4, 3)
    x = draw(1, 2, 4, 5, 5)

    def model(x):
        return (x.permute(0, 2, 3, 1) @ weight).permute(0, 3, 1, 2)

    found = saliency.gradient(model, x, lambda scores: scores[:, 1, 2, 3], None).numpy()
    expected = np.zeros((2, 4, 5, 5))
    expected[:, :, 2, 3] = weight.numpy()[:, 1]
    np.testing.assert_array_equal(found, expected)
