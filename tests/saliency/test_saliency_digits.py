"""Maps evaluated on a small network trained on the digits in the package, and curves checked by hand."""

import numpy as np
import pytest
from saliency_nets import draw, reused

import microtensor as mt
from microtensor import data, nn, saliency


@pytest.fixture(scope="module")
def digits():
    """A small LeNet after 180 steps, and 24 test digits that it classifies correctly."""
    mt.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(6, 16, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 7 * 7, 60),
        nn.ReLU(),
        nn.Linear(60, 10),
    )
    loader = data.DataLoader(data.mnist_sample(), 32, shuffle=True, generator=mt.Generator(0))
    nn.fit(model, loader, nn.cross_entropy, nn.Adam(model.parameters(), lr=4e-3), epochs=1, progress=False)
    images, labels = data.mnist_sample(train=False)[np.arange(200)]
    x = mt.Tensor(images)
    with model.evaluating(), mt.no_grad():
        right = model(x).argmax(dim=1).numpy() == labels
    assert right.mean() > 0.9
    return model, mt.Tensor(images[right][:24])


def test_deletion_falls_faster_by_gradients_than_at_random(digits):
    model, x = digits
    random = saliency.deletion(model, x, np.random.default_rng(0).random((24, 28, 28)), steps=14).auc
    maps = {
        "gradient": saliency.gradient(model, x),
        "input x gradient": saliency.input_x_gradient(model, x),
        "integrated gradients": saliency.integrated_gradients(model, x, n_steps=10),
        "smooth grad": saliency.smooth_grad(model, x, samples=10, generator=mt.Generator(0)),
        "guided backprop": saliency.guided_backprop(model, x),
        "guided Grad-CAM": saliency.guided_grad_cam(model, x),
    }
    for name, map in maps.items():
        auc = saliency.deletion(model, x, map, steps=14).auc
        assert auc.mean() < random.mean() - 0.2, name
        assert (auc < random).mean() > 0.9, name
        assert (saliency.insertion(model, x, map, steps=14, baseline=0.0).auc > random).mean() > 0.7, name


def test_the_sanity_check_tells_guided_backpropagation_from_the_gradient(digits):
    model, x = digits
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    by_gradient = saliency.sanity_check(model, x, generator=mt.Generator(0))
    guided = saliency.sanity_check(model, x, method=saliency.guided_backprop, generator=mt.Generator(0))
    assert [stage.layer for stage in guided] == ["8", "6", "2", "0"]
    assert [stage.layer for stage in by_gradient] == ["8", "6", "2", "0"]
    for a, b in zip(by_gradient[:2], guided[:2]):  # the linear layers, after the convolutions
        assert a.correlation.shape == (24,)
        assert b.correlation.mean() > a.correlation.mean() + 0.15
        assert b.correlation.mean() > 0.55
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])


def test_a_small_step_up_the_loss_flips_the_class(digits):
    model, x = digits
    epsilon, black, white = 0.25 / 0.3081, -0.1307 / 0.3081, 0.8693 / 0.3081  # a quarter of the way from black to white
    small, none = saliency.fgsm(model, x, epsilon, lower_bound=black, upper_bound=white), saliency.fgsm(model, x, 0.0)
    assert small.flipped.mean() > 0.7
    assert not none.flipped.any()
    assert (small.loss_after > small.loss_before).mean() > 0.9
    assert np.abs(small.images.numpy() - x.numpy()).max() <= epsilon + 1e-6
    np.testing.assert_array_equal(none.images.numpy(), x.numpy())


# Curves, by hand


def bright(x):
    """Class 0: the sum of all pixels; class 1: 0."""
    total = x.sum(dim=(2, 3))[:, :1]
    return mt.cat([total, total * 0], dim=1)


def sigmoid(z):
    return 1 / (1 + np.exp(-np.asarray(z)))


def test_the_curves_by_hand():
    x = draw(0, 2, 1, 2, 3).abs()
    flat = x.numpy().reshape(2, 6)
    order = np.argsort(-flat, axis=1)
    down = np.stack([[sigmoid(f.sum() - f[o[:k]].sum()) for k in range(7)] for f, o in zip(flat, order)])
    up = np.stack([[sigmoid(f[o[:k]].sum()) for k in range(7)] for f, o in zip(flat, order)])
    for batch_size in (1, 5, 100):
        away = saliency.deletion(bright, x, x.squeeze(1), 0, steps=6, batch_size=batch_size)
        back = saliency.insertion(bright, x, x.squeeze(1), 0, steps=6, baseline=0.0, batch_size=batch_size)
        np.testing.assert_allclose(away.fraction, np.arange(7) / 6)
        np.testing.assert_allclose(away.score, down, rtol=1e-9)
        np.testing.assert_allclose(back.score, up, rtol=1e-9)
        np.testing.assert_allclose(away.auc, (down[:, 1:] + down[:, :-1]).sum(1) / 12, rtol=1e-9)
    one = saliency.deletion(bright, x[1], x[1, 0].numpy(), 0, steps=6)
    np.testing.assert_allclose(one.score, down[1], rtol=1e-9)
    assert one.auc.shape == ()
    np.testing.assert_allclose(saliency.deletion(lambda x: bright(x).softmax(dim=1), x[1], x[1, 0], 0, 6).score, down[1])
    raw = saliency.deletion(bright, x[1], x[1, 0], lambda s: s[:, 0], steps=6)
    np.testing.assert_allclose(sigmoid(raw.score), down[1], rtol=1e-9)


def test_more_steps_than_pixels_and_fewer():
    x = draw(0, 1, 1, 2, 3).abs()
    many, two = (saliency.deletion(bright, x, x.squeeze(1), 0, steps=steps) for steps in (13, 2))
    assert many.fraction[0] == 0
    assert many.fraction[-1] == 1
    assert (np.diff(many.fraction) >= 0).all()
    np.testing.assert_allclose(two.fraction, [0, 0.5, 1])
    assert abs(many.auc - saliency.deletion(bright, x, x.squeeze(1), 0, steps=6).auc)[0] < 0.02


def test_insertion_begins_with_a_blurred_image():
    torch = pytest.importorskip("torch")
    x = draw(0, 1, 2, 9, 40)
    bell = torch.exp(-0.5 * (torch.arange(-15, 16, dtype=torch.float64) / 5) ** 2)
    kernel = (bell[:, None] * bell / bell.sum() ** 2).reshape(1, 1, 31, 31)
    planes = torch.nn.functional.pad(torch.tensor(x.numpy()).reshape(2, 1, 9, 40), (15,) * 4, mode="replicate")
    expected = torch.nn.functional.conv2d(planes, kernel).reshape(1, 2, 9, 40).sum((1, 2, 3))
    found = saliency.insertion(lambda x: x.sum(dim=(2, 3)), x, x[:, 0], lambda s: s.sum(dim=1), steps=3).score
    np.testing.assert_allclose(found[0, 0], expected.numpy()[0], rtol=1e-9)
    np.testing.assert_allclose(found[0, -1], x.numpy().sum(), rtol=1e-9)


def test_no_images_have_no_curves():
    x = draw(0, 0, 1, 2, 3)
    for curve in (saliency.deletion, saliency.insertion):
        found = curve(bright, x, x[:, 0], 0, steps=4)
        assert (found.score.shape, found.auc.shape) == ((0, 5), (0,))


# The sanity check, by hand


def test_weights_come_back_bit_for_bit_also_after_an_error():
    model, x = reused(), draw(3, 2, 2, 8, 8)
    arrays = [parameter.array for parameter in model.parameters()]
    before = [parameter.numpy().copy() for parameter in model.parameters()]
    loss = (model.eval()(x) ** 2).sum()  # a graph whose backward pass comes later
    state = model.state_dict()
    calls = []

    def broken(model, x, target):
        calls.append([parameter.numpy().copy() for parameter in model.parameters()])
        if len(calls) > 2:
            raise RuntimeError("broken")
        return saliency.gradient(model, x, target)

    with pytest.raises(RuntimeError, match="broken"):
        saliency.sanity_check(model, x, method=broken, generator=mt.Generator(0))
    for i, parameter in enumerate(model.parameters()):
        assert parameter.array is arrays[i]
        np.testing.assert_array_equal(parameter.numpy(), before[i])
    for (name, old), (_, now) in zip(state.items(), model.state_dict().items()):
        np.testing.assert_array_equal(old.numpy(), now.numpy(), err_msg=name)
    loss.backward()  # nothing was overwritten
    names = [name for name, _ in model.named_parameters()]
    changed = [{n for n, a, b in zip(names, before, call) if (a != b).any()} for call in calls]
    assert changed == [set(), {"fc.weight", "fc.bias"}, {"fc.weight", "fc.bias", "conv2.weight", "conv2.bias"}]
    for a, b in zip(before, calls[-1]):
        np.testing.assert_array_equal(np.sort(a, axis=None), np.sort(b, axis=None))  # the same elements


def test_ranks_are_spearmans_and_a_method_that_ignores_the_model_stays():
    model, x = reused(), draw(3, 2, 2, 8, 8)
    rng = np.random.default_rng(0)
    shown = [rng.integers(0, 5, (2, 8, 8)).astype(float) for _ in range(5)]
    maps = iter(shown)
    stages = saliency.sanity_check(model, x, method=lambda *_: mt.Tensor(next(maps)))
    assert [stage.layer for stage in stages] == ["fc", "conv2", "bn", "conv1"]
    for stage, map in zip(stages, shown[1:]):
        for i in range(2):
            a, b = shown[0][i].reshape(-1), map[i].reshape(-1)
            ranks = [((v[:, None] > v).sum(1) + (v[:, None] >= v).sum(1) + 1) / 2 for v in (a, b)]
            np.testing.assert_allclose(stage.correlation[i], np.corrcoef(*ranks)[0, 1], rtol=1e-9)
    same = saliency.sanity_check(model, x, method=lambda model, x, target: x.abs().amax(dim=1))
    assert all(np.allclose(stage.correlation, 1) for stage in same)
    constant = saliency.sanity_check(model, x[0], 1, method=lambda model, x, target: x[0] * 0)
    assert [float(stage.correlation) for stage in constant] == [0, 0, 0, 0]


def test_the_class_of_all_stages_is_the_models_own():
    model, x = reused(), draw(3, 3, 2, 8, 8)
    classes = model.eval()(x).argmax(dim=1).tolist()
    asked = []

    def method(model, x, target):
        asked.append(list(target))
        return saliency.gradient(model, x, target)

    saliency.sanity_check(model, x, method=method)
    assert asked == [classes] * 5


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: saliency.deletion(bright, x, x), ValueError, r"for images \(2, 1, 2, 3\) the map must be \(2, 2, 3\), got"),
        (lambda x: saliency.deletion(bright, x, "map"), TypeError, "the map must be a Tensor or an array, got str"),
        (lambda x: saliency.deletion(bright, x, x[:, 0] * float("nan")), ValueError, "deletion: the map holds nan"),
        (lambda x: saliency.insertion(bright, x, x[:, 0], steps=0), ValueError, "saliency.insertion: steps must be at least 1"),
        (lambda x: saliency.deletion(bright, x, x[:, 0], baseline="black"), TypeError, "deletion: the baseline must be a"),
        (lambda x: saliency.sanity_check(bright, x), TypeError, "sanity_check: the model must be a Module, got function"),
        (lambda x: saliency.sanity_check(nn.Flatten(), x), ValueError, "sanity_check: Flatten has no weights to randomise"),
        (lambda x: saliency.sanity_check(nn.Flatten(), x, method=3), TypeError, "method must be a function such as"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call(draw(0, 2, 1, 2, 3))
