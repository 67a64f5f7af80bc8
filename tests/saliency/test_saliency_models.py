"""Models that can be explained: functions that call modules, models with one score, batches; and the errors for others."""

import contextlib
import functools

import numpy as np
import pytest
from saliency_nets import draw

import microtensor as mt
from microtensor import nn, random, saliency
from microtensor.nn.hooks import watchers
from microtensor.saliency import methods

NOISE = {"fraction": 0.15}
QUICK = {"samples": 3, "n_steps": 3}


def quick(method):
    """A method of the table, with few samples, as a function of model, images and target."""
    settings = {name: value for name, value in {**QUICK, "noise": NOISE["fraction"]}.items() if method.takes(name)}
    return lambda m, x, t: method.maps(m, x, t, generator=random.Generator(0), **settings)


METHODS = {name: lambda m, x, t, method=method: quick(method)(m, x, t) for name, method in methods.METHODS.items()} | {
    "deletion": lambda m, x, t: saliency.deletion(m, x, x.sum(dim=-3), t, steps=3).score,
    "insertion": lambda m, x, t: saliency.insertion(m, x, x.sum(dim=-3), t, steps=3).score,
    "fgsm": lambda m, x, t: saliency.fgsm(m, x, 0.1, t).images,
}
each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


class Two(nn.Module):
    """Returns scores and the features they were computed from."""

    def __init__(self):
        self.conv, self.norm, self.drop, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Linear(4, 3)

    def forward(self, x):
        maps = self.norm(self.conv(x)).relu()
        h = maps.mean(dim=(2, 3))
        return self.head(self.drop(h)), h

    def scores(self, x):
        return self(x)[0]


X = draw(0, 3, 3, 8, 8).to("float32")


def numpy(x):
    return x if isinstance(x, np.ndarray) else x.numpy()


@pytest.mark.parametrize(
    "of",
    [
        lambda model: lambda x: model(x)[0],
        lambda model: functools.partial(lambda model, x: model(x)[0], model),
        lambda model: model.scores,
        lambda model: lambda x: model.head(model.drop(model.norm(model.conv(x)).relu().mean(dim=(2, 3)))),
    ],
    ids=["lambda", "partial", "method", "parts"],
)
@each_method
def test_a_function_of_modules_is_explained_in_eval_mode(method, of):
    model = Two()
    model.norm.eval()  # frozen by its owner
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    first, second = (numpy(method(of(model), X, 1)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert [module.training for module in model.modules()] == modes
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name], name)
    with model.evaluating():
        np.testing.assert_array_equal(numpy(method(of(model), X, 1)), first)
    assert all(parameter.grad is None for parameter in model.parameters())


class Functional(Two):
    """Reads its own `training` flag."""

    def forward(self, x):
        h = nn.dropout(self.conv(x), 0.5, training=self.training).relu().mean(dim=(2, 3))
        return self.head(h), h


@pytest.mark.parametrize(
    "of",
    [
        lambda model: lambda x: model.forward(x)[0],
        lambda model: lambda x: (model.train(), model.eval(), model(x)[0])[-1],
        lambda model: functools.partial(lambda models, x: models["a"][0].forward(x)[0], {"a": [model]}),
    ],
    ids=["forward", "sets its mode", "in a dict"],
)
def test_a_module_that_asks_for_its_mode_and_a_function_that_sets_it(of):
    model = Functional()
    first, second = (saliency.gradient(of(model), X, 1).numpy() for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert all(module.training for module in model.modules())


def test_sigmoids_of_several_labels_are_probabilities_as_they_are():
    def model(x):
        return mt.cat([left(x), left(x.flip(3))], dim=1).sigmoid()

    halves = mt.Tensor(np.repeat([1.0, 0.0], 4) * np.ones((1, 8, 1)))
    curve = saliency.deletion(model, BRIGHT, halves, target=0, steps=1)
    np.testing.assert_allclose(curve.score[0], [left(BRIGHT).sigmoid().item(), left(BRIGHT * 0).sigmoid().item()], rtol=1e-5)


@each_method
def test_a_model_that_writes_into_its_argument_does_not_change_the_callers_images(method):
    images, model = X.clone(), Two()

    def writes(x):
        scores = model.scores(x)
        with mt.no_grad():
            x[...] = 0
        return scores

    with contextlib.suppress(RuntimeError):  # an array that the gradient needs was overwritten
        method(writes, images, 1)
    np.testing.assert_array_equal(images.numpy(), X.numpy())


def test_modes_are_put_back_after_an_error():
    model = Two()

    def fails(x):
        model(x)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        saliency.gradient(fails, X, 1)
    assert all(module.training for module in model.modules())
    assert not watchers


def mixing(kind):
    """Models in which an image's scores depend on the other images."""
    conv, head = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)
    norm = nn.BatchNorm2d(4, track_running_stats=False)
    if kind == "batch norm without statistics":
        return nn.Sequential(conv, norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    return lambda x: head((conv(x) - conv(x).mean(dim=0, keepdim=True) * 0.5).relu().mean(dim=(2, 3)))


@pytest.mark.parametrize("kind", ["none", "batch norm without statistics", "mean of the batch"])
@each_method
def test_images_of_one_batch_do_not_change_each_others_maps(monkeypatch, method, kind):
    monkeypatch.setitem(NOISE, "fraction", 0.0)  # the noise of each image differs
    model = Two().scores if kind == "none" else mixing(kind)
    classes = [2, 0, 1]
    whole = numpy(method(model, X, classes))
    for i, image in enumerate(X):
        np.testing.assert_allclose(whole[i], numpy(method(model, image, classes[i])), rtol=2e-3, atol=1e-5)


def left(x):
    """A logit that depends on the left half only."""
    return (x[:, 0, :, :4].mean(dim=(1, 2)) * 20 - 10).unsqueeze(1)


BRIGHT = mt.Tensor(np.random.default_rng(0).random((1, 1, 8, 8)).astype("f4"))


@pytest.mark.parametrize("model", [left, lambda x: left(x).sigmoid()], ids=["logit", "sigmoid"])
def test_one_score_is_that_of_two_classes(model):
    map = saliency.rise(model, BRIGHT, samples=400, generator=random.Generator(0)).numpy()[0]
    assert map[:, :4].mean() > map[:, 4:].mean()
    halves = mt.Tensor(np.repeat([1.0, 0.0], 4) * np.ones((1, 8, 1)))
    curve = saliency.deletion(model, BRIGHT, halves, steps=2)
    expected = [left(x).sigmoid().item() for x in (BRIGHT, BRIGHT * (1 - halves.to("float32")), BRIGHT * 0)]
    np.testing.assert_allclose(curve.score[0], expected, rtol=1e-5)
    back = saliency.insertion(model, BRIGHT, halves, steps=2, baseline=0.0)
    np.testing.assert_allclose(back.score[0], [expected[2], expected[0], expected[0]], rtol=1e-5)


@pytest.mark.parametrize("model", [left, lambda x: left(x).sigmoid()], ids=["logit", "sigmoid"])
@pytest.mark.parametrize("label", [0, 1, None])
def test_fgsm_of_one_score(model, label):
    attack = saliency.fgsm(model, BRIGHT, 0.1, target=label)
    score = left(BRIGHT).item()
    assert attack.before[0] == (score > 0)
    wanted = -1 if (label if label is not None else score > 0) else 1  # away from the label
    step = (attack.images - BRIGHT).numpy()[0, 0]
    np.testing.assert_allclose(step, np.repeat([0.1 * wanted, 0], 4) * np.ones((8, 1)), atol=1e-6)
    assert attack.after[0] == (left(attack.images).item() > 0)
    assert attack.loss_after[0] > attack.loss_before[0]


def test_a_score_that_may_be_a_probability_is_said_to_be_taken_for_a_logit():
    def half(x):
        return x.mean(dim=(2, 3)).clamp(0, 1)

    with pytest.warns(UserWarning, match=r"taken for a logit.*target=lambda scores: scores\[:, 0\]"):
        saliency.rise(half, BRIGHT, samples=3)
    saliency.rise(half, BRIGHT, samples=3, target=lambda scores: scores[:, 0])  # the advice of the warning: no warning


@pytest.mark.parametrize(
    ("model", "hint", "mended"),
    [
        (
            lambda x: {"out": x.mean(dim=(2, 3)), "aux": x},
            r"lambda x: model\(x\)\['out'\]",
            lambda model: lambda x: model(x)["out"],
        ),
        (lambda x: (x.mean(dim=(2, 3)), x), r"lambda x: model\(x\)\[0\]", lambda model: lambda x: model(x)[0]),
        (lambda x: x.mean(dim=(1, 2, 3)), r"model\(x\).unsqueeze\(1\)", lambda model: lambda x: model(x).unsqueeze(1)),
        (lambda x: x * 2, r"model\(x\).mean\(dim=\(2, 3\)\)", lambda model: lambda x: model(x).mean(dim=(2, 3))),
    ],
    ids=["dict", "tuple", "one number", "places"],
)
@pytest.mark.parametrize("name", ["gradient", "integrated_gradients", "smooth_grad", "occlusion", "rise", "fgsm"])
def test_hints_work_as_they_are_written(name, model, hint, mended):
    with pytest.raises((TypeError, ValueError), match=hint):
        METHODS[name](model, X, 0)
    assert METHODS[name](mended(model), X, 0).shape[0] == 3


def test_several_inputs():
    def model(x, y):
        return (x * y).mean(dim=(2, 3))

    with pytest.raises(TypeError, match=r"hold the others fixed: lambda x: model\(x, other\)"):
        saliency.integrated_gradients(model, (X, X), 0)
    assert saliency.integrated_gradients(lambda x: model(x, X[:1]), X, 0, n_steps=2).shape == (3, 8, 8)


class Heads(nn.Module):
    """A dict of scores for each position; the head called last is not the explained one."""

    def __init__(self):
        self.body, self.out, self.aux = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        h = self.body(x).relu()
        return {"out": self.out(h), "aux": self.aux(h)}


def test_grad_cam_of_a_dict():
    model = Heads()

    def score(scores):
        return scores[:, 1].sum(dim=(1, 2))

    with pytest.raises(TypeError, match=r"lambda x: model\(x\)\['out'\]"):
        saliency.grad_cam(model, X, score)
    found = saliency.grad_cam(lambda x: model(x)["out"], X, score)
    np.testing.assert_array_equal(
        found.numpy(), saliency.grad_cam(lambda x: model(x)["out"], X, score, layer=model.out).numpy()
    )
    assert saliency.grad_cam(lambda x: model(x)["out"], X, score, layer=model.body).shape == (3, 8, 8)
    with pytest.raises(TypeError, match=r"layer=network.get_submodule\('body'\)"):
        saliency.grad_cam(lambda x: model(x)["out"], X, score, layer="body")
    again = saliency.grad_cam(lambda x: model(x)["out"], X, score, layer=model.get_submodule("body"))
    assert again.shape == (3, 8, 8)
