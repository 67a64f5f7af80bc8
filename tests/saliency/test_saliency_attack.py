"""The fast gradient sign method."""

import numpy as np
import pytest
from saliency_nets import draw, reused, twin

import microtensor as mt
from microtensor import saliency

X, LABELS = draw(3, 3, 2, 8, 8), [0, 4, 2]


@pytest.mark.parametrize("targeted", [False, True])
def test_against_pytorch(targeted):
    torch = pytest.importorskip("torch")
    forward, leaf = twin(torch, reused()), torch.tensor(X.numpy(), requires_grad=True)
    losses = torch.nn.functional.cross_entropy(forward(leaf), torch.tensor(LABELS), reduction="none")
    losses.sum().backward()
    moved = (leaf + (-0.1 if targeted else 0.1) * leaf.grad.sign()).detach().clamp(-1, 1.5)
    attack = saliency.fgsm(reused(), X, 0.1, LABELS, targeted, lower_bound=-1, upper_bound=1.5)
    np.testing.assert_allclose(attack.images.numpy(), moved.numpy(), rtol=1e-12)
    np.testing.assert_allclose(attack.loss_before, losses.detach().numpy(), rtol=1e-9)
    after = forward(moved)
    np.testing.assert_array_equal(attack.after, after.argmax(1).numpy())
    np.testing.assert_array_equal(attack.before, forward(leaf).argmax(1).numpy())
    expected = torch.nn.functional.cross_entropy(after, torch.tensor(LABELS), reduction="none")
    np.testing.assert_allclose(attack.loss_after, expected.detach().numpy(), rtol=1e-9)


def test_of_a_linear_model_the_loss_grows_by_epsilon_times_all_weights():
    weight = draw(0, 8)

    def model(x):
        return mt.stack([(x.flatten(1) * weight).sum(dim=1), x.flatten(1).sum(dim=1) * 0], dim=1)

    x = draw(1, 1, 2, 2)[0:1].broadcast_to(2, 2, 2) * 0
    score = 0.3 * np.abs(weight.numpy()).sum()
    attack = saliency.fgsm(model, x, 0.3, 0)
    np.testing.assert_allclose(attack.loss_after, np.log1p(np.exp(score)), rtol=1e-9)  # −log sigmoid(−score)
    assert attack.after == 1
    assert attack.images.shape == (2, 2, 2)


def test_without_target_it_is_what_the_model_names_and_probabilities_are_understood():
    model = reused()
    best = model.eval()(X).argmax(dim=1)
    expected = saliency.fgsm(model, X, 0.1, best)
    for asked in (model, lambda x: model(x).softmax(dim=1)):
        found = saliency.fgsm(asked, X, 0.1)
        np.testing.assert_array_equal(found.images.numpy(), expected.images.numpy())
        np.testing.assert_allclose(found.loss_after, expected.loss_after, rtol=1e-9)
    np.testing.assert_array_equal(expected.before, best.numpy())
    np.testing.assert_array_equal(expected.flipped, expected.before != expected.after)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"epsilon": -1}, ValueError, "epsilon must be a number of 0 or more"),
        ({"epsilon": float("nan")}, ValueError, "epsilon must be a number of 0 or more"),
        (
            {"epsilon": 0.1, "lower_bound": 1, "upper_bound": 0},
            ValueError,
            "lower_bound 1 must be a number below upper_bound 0",
        ),
        ({"epsilon": 0.1, "targeted": True}, ValueError, "targeted=True needs a target"),
        ({"epsilon": 0.1, "target": lambda s: s}, TypeError, "the target must be a class"),
        ({"epsilon": 0.1, "target": 5}, ValueError, "fgsm: target 5 is out of range"),
    ],
)
def test_wrong_input_is_refused_in_words(settings, error, message):
    with pytest.raises(error, match=message):
        saliency.fgsm(reused(), X, **settings)
