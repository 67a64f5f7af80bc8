"""Models that end in softmax."""

import warnings

import numpy as np
import pytest
from saliency_nets import draw, reused

import microtensor as mt
from microtensor import nn, saliency


class Ends(nn.Module):
    def __init__(self, end):
        self.body, self.end = reused(), end

    def forward(self, x):
        return self.end(self.body(x))


ENDS = {
    "softmax": lambda z: z.softmax(dim=1),
    "log_softmax": lambda z: z.log_softmax(dim=1),
    "reshaped": lambda z: z.softmax(dim=1).unsqueeze(2).squeeze(2).reshape(-1, 5),
}


def by_hand(z):
    e = (z - z.amax(dim=1, keepdim=True)).exp()
    return e / e.sum(dim=1, keepdim=True)


@pytest.mark.parametrize("end", [*ENDS.values(), by_hand, lambda z: by_hand(z).to("float32")])
def test_a_model_that_ends_in_softmax_is_warned_of_where_it_was_asked(end):
    model, x = Ends(end), draw(3, 2, 2, 8, 8)
    with pytest.warns(UserWarning, match=r"saliency\.gradient: the model ends in softmax: .*before_softmax") as seen:
        saliency.gradient(model, x, 1)
    assert len(seen) == 1
    assert seen[0].filename == __file__
    with pytest.warns(UserWarning, match="ends in softmax") as seen:
        saliency.smooth_grad(model, x, 1, samples=3, batch_size=1)
    assert len(seen) == 1


def test_whom_it_does_not_concern_is_not_warned():
    x = draw(3, 2, 2, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        saliency.gradient(reused(), x)
        saliency.gradient(Ends(lambda z: z.sigmoid()), x)
        saliency.gradient(Ends(lambda z: z.softmax(dim=1) * 2), x)
        saliency.integrated_gradients(Ends(ENDS["softmax"]), x, n_steps=2)
        saliency.occlusion(Ends(ENDS["softmax"]), x, window=4)
        saliency.gradient(Ends(ENDS["softmax"]), x, lambda p: p[:, 0])


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_before_softmax_are_the_logits(end):
    model, x = Ends(end), draw(3, 2, 2, 8, 8)
    logits = saliency.before_softmax(model)
    expected = saliency.gradient(model.body, x, [1, 3]).numpy()
    np.testing.assert_array_equal(saliency.gradient(logits, x, [1, 3]).numpy(), expected)
    cam = saliency.grad_cam(model.body, x, 1, "conv2").numpy()
    np.testing.assert_array_equal(saliency.grad_cam(logits, x, 1, "body.conv2").numpy(), cam)
    with mt.no_grad():
        np.testing.assert_array_equal(logits(x).numpy(), model(x).numpy() * 0 + logits.model.body(x).numpy())
    assert all(module.training for module in model.modules())


def test_a_saturated_probability_has_no_gradient_and_its_logit_has():
    body = reused()
    model, x = Ends(lambda z: (z * 1000).softmax(dim=1)), draw(3, 2, 2, 8, 8)
    with pytest.warns(UserWarning, match="its gradient vanishes"):
        faded = saliency.gradient(model, x)
    assert faded.max().item() < 1e-6
    np.testing.assert_allclose(
        saliency.gradient(saliency.before_softmax(model), x).numpy(), 1000 * saliency.gradient(body, x).numpy(), rtol=1e-12
    )


@pytest.mark.parametrize("end", [lambda z: z, lambda z: z.softmax(dim=1) * 2])
def test_before_softmax_of_another_model_is_refused_in_words(end):
    with pytest.raises(ValueError, match="the model does not end in softmax"):
        saliency.before_softmax(Ends(end))(draw(3, 1, 2, 8, 8))
    with pytest.raises(TypeError, match="before_softmax: the model must be callable"):
        saliency.before_softmax("model")


def test_the_observer_goes_with_an_error():
    from microtensor.autograd.graph import mode

    with pytest.raises(ValueError, match="conv2d"):
        saliency.before_softmax(Ends(ENDS["softmax"]))(draw(3, 1, 3, 8, 8))
    assert mode.observers == ()


def test_an_operation_of_the_user_called_reshape_ends_the_softmax():
    """Operations are recognised by identity, not by name."""

    def reshape(x):
        return x.array * 3, (lambda g: g * 3,)

    tripled = mt.op(reshape)
    model = nn.Sequential(nn.Flatten(), nn.Softmax(1))
    with pytest.raises(ValueError, match="does not end in softmax"):
        saliency.before_softmax(lambda x: tripled(model(x)))(mt.ones(1, 1, 1, 3))
