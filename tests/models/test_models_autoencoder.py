"""Autoencoders: parameters, PyTorch's numbers, noise, and the variational bound."""

import copy
import math
import pickle
import sys

import numpy as np
import pytest
import strict

import microtensor as mt
from microtensor import nn
from microtensor.gradcheck import check_gradients
from microtensor.models import autoencoder
from microtensor.models.autoencoder import Painted, conv_autoencoder, conv_vae, denoising_autoencoder, vae_loss

FACTORIES = [conv_autoencoder, denoising_autoencoder, conv_vae]


def pixels(n, seed=0):
    return mt.Tensor(np.random.default_rng(seed).random((n, 1, 28, 28)), dtype="float32")


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("factory", "parameters", "multiply_adds"),
    [(conv_autoencoder, 68_721, 953_344), (denoising_autoencoder, 420_065, 1_304_576), (conv_vae, 93_825, 978_432)],
)
def test_parameters_and_multiply_adds(factory, parameters, multiply_adds):
    found = nn.summary(factory(), (1, 28, 28))
    assert (found.total_parameters, found.multiply_adds) == (parameters, multiply_adds)


def test_parameters_by_hand():
    layers = [16 * (16 + 1), 32 * (16 * 16 + 1), 16 * (32 * 49) + 16, (32 * 49) * (16 + 1), 32 * 16 * 16 + 16, 16 * 16 + 1]
    assert sum(layers) == count(conv_autoencoder(16))


def test_keys_and_shapes():
    state = conv_autoencoder(5).state_dict()
    assert list(state) == [f"{part}.{layer}.{what}" for part, layers in (("encoder", (0, 2, 5)), ("decoder", (0, 3, 5)))
                           for layer in layers for what in ("weight", "bias")]  # fmt: skip
    assert state["encoder.5.weight"].shape == (5, 32 * 7 * 7)
    assert state["decoder.5.weight"].shape == (16, 1, 4, 4)
    model, x = conv_autoencoder(5), pixels(3)
    assert model.encode(x).shape == (3, 5)
    assert model(x).shape == model.decode(model.encode(x)).shape == (3, 1, 28, 28)


def torch_decoder(F, state, z):
    z = F.relu(F.linear(z, state["decoder.0.weight"], state["decoder.0.bias"])).reshape(-1, 32, 7, 7)
    z = F.relu(F.conv_transpose2d(z, state["decoder.3.weight"], state["decoder.3.bias"], stride=2, padding=1))
    return F.conv_transpose2d(z, state["decoder.5.weight"], state["decoder.5.bias"], stride=2, padding=1)


def torch_encoder(F, state, x):
    x = F.relu(F.conv2d(x, state["encoder.0.weight"], state["encoder.0.bias"], stride=2, padding=1))
    x = F.relu(F.conv2d(x, state["encoder.2.weight"], state["encoder.2.bias"], stride=2, padding=1)).flatten(1)
    return F.linear(x, state["encoder.5.weight"], state["encoder.5.bias"])


def in_torch(model, *arrays):
    torch = pytest.importorskip("torch")
    state = {name: torch.tensor(p.numpy(), requires_grad=True) for name, p in model.named_parameters()}
    return torch, torch.nn.functional, state, [torch.tensor(np.asarray(array)) for array in arrays]


def check_gradients_of(model, state):
    for name, p in model.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), state[name].grad.numpy(), rtol=1e-8, atol=1e-10, err_msg=name)


def test_an_autoencoder_computes_what_pytorch_does():
    model, x = conv_autoencoder(7).double(), pixels(3).double()
    torch, F, state, (given,) = in_torch(model, x.numpy())
    expected = torch.sigmoid(torch_decoder(F, state, torch_encoder(F, state, given)))
    y = model(x)
    np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), rtol=1e-10)
    nn.mse_loss(y, x).backward()
    F.mse_loss(expected, given).backward()
    check_gradients_of(model, state)


# Denoising


def test_noise_loses_pixels_and_leaves_the_others():
    model = denoising_autoencoder(noise=0.25)
    x = 1 + pixels(50)
    spoilt = model.corrupt(x).numpy()
    lost = spoilt == 0
    assert lost.mean() == pytest.approx(0.25, abs=0.02)
    np.testing.assert_array_equal(spoilt[~lost], x.numpy()[~lost])
    assert denoising_autoencoder(noise=0).corrupt(x).numpy().tolist() == x.numpy().tolist()
    assert not denoising_autoencoder(noise=1).corrupt(x).numpy().any()
    assert model.corrupt(x.double()).dtype == np.float64


def test_noise_is_for_training_alone():
    model, x = denoising_autoencoder(8), pixels(4)
    assert not np.array_equal(model(x).detach().numpy(), model(x).detach().numpy())
    model.eval()
    np.testing.assert_array_equal(model(x).detach().numpy(), model.decode(model.encode(x)).detach().numpy())


def test_noise_comes_from_the_generator_that_is_given():
    model = autoencoder.DenoisingAutoencoder(8, generator=mt.Generator(3))
    first = model.corrupt(pixels(2)).numpy()
    assert not np.array_equal(model.corrupt(pixels(2)).numpy(), first)
    model.generator.manual_seed(3)
    np.testing.assert_array_equal(model.corrupt(pixels(2)).numpy(), first)


# Variational


def test_a_code_is_drawn_from_the_distribution_that_the_encoder_says():
    model = autoencoder.ConvVAE(2, generator=mt.Generator(0))
    mean, log_variance = mt.Tensor(np.tile([3.0, -1.0], (20_000, 1))), mt.Tensor(np.tile([0.0, math.log(4)], (20_000, 1)))
    codes = model.reparameterise(mean, log_variance).numpy()
    np.testing.assert_allclose(codes.mean(0), [3, -1], atol=0.05)
    np.testing.assert_allclose(codes.std(0), [1, 2], atol=0.05)


def test_a_drawn_code_has_derivatives():
    model = autoencoder.ConvVAE(2, generator=mt.Generator(0))
    mean = mt.Tensor(np.array([[0.5, -2.0]]), requires_grad=True)
    log_variance = mt.Tensor(np.array([[0.1, 1.0]]), requires_grad=True)
    code = model.reparameterise(mean, log_variance)
    code.sum().backward()
    np.testing.assert_allclose(mean.grad.numpy(), 1)
    np.testing.assert_allclose(log_variance.grad.numpy(), (code - mean).detach().numpy() / 2)  # ∂(σε)/∂ log σ² = σε / 2


def test_a_vae_computes_what_pytorch_does():
    model, x = autoencoder.ConvVAE(3, generator=mt.Generator(0)).double(), pixels(4).double()
    noise = mt.randn((4, 3), generator=mt.Generator(0), dtype="float64").numpy()
    torch, F, state, (given, noise) = in_torch(model, x.numpy(), noise)
    mean, log_variance = torch_encoder(F, state, given).chunk(2, dim=1)
    logits = torch_decoder(F, state, mean + (log_variance / 2).exp() * noise)
    painted = model(x)
    for ours, theirs in zip(painted, (logits, mean, log_variance)):
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-10)
    distribution = torch.distributions.Normal(mean, (log_variance / 2).exp())
    divergence = torch.distributions.kl_divergence(distribution, torch.distributions.Normal(0.0, 1.0)).sum()
    expected = (F.binary_cross_entropy_with_logits(logits, given, reduction="sum") + divergence) / 4
    loss = vae_loss(painted, x)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    loss.backward()
    expected.backward()
    check_gradients_of(model, state)


@pytest.mark.parametrize("order", [1, 2])
def test_gradients_of_the_loss(order):
    rng = np.random.default_rng(0)
    x = mt.Tensor(rng.random((2, 1, 3, 3)))
    logits, mean, log_variance = (mt.Tensor(rng.standard_normal(shape)) for shape in ((2, 1, 3, 3), (2, 4), (2, 4)))
    check_gradients(lambda *parts: vae_loss(Painted(*parts), x), logits, mean, log_variance, order=order)


def test_the_loss_bounds_the_likelihood():
    """Minus the bound, averaged over draws, is at least −log p(x), which a grid over the one number of the code integrates."""
    mt.manual_seed(0)
    model = conv_vae(latent=1).double()
    x = (pixels(1).double() < 0.5).to("float64")
    with mt.no_grad():
        losses = [vae_loss(model(x), x).item() for _ in range(200)]
        grid = np.linspace(-8, 8, 801)
        logits = model.decoder(mt.Tensor(grid[:, None]))
        log_p = (
            -nn.binary_cross_entropy_with_logits(logits, x.broadcast_to(logits.shape), reduction="none").sum((1, 2, 3)).numpy()
        )
    weights = log_p - grid**2 / 2 - math.log(math.sqrt(2 * math.pi)) + math.log(grid[1] - grid[0])
    evidence = np.logaddexp.reduce(weights)
    assert np.mean(losses) > -evidence - 4 * np.std(losses) / math.sqrt(len(losses))


def test_new_images_are_painted_from_codes_near_nought():
    model = autoencoder.ConvVAE(4, generator=mt.Generator(5))
    images = model.sample(6)
    assert images.shape == (6, 1, 28, 28)
    assert 0 < images.detach().numpy().min() < images.detach().numpy().max() < 1
    codes = mt.randn((6, 4), generator=mt.Generator(5))
    np.testing.assert_array_equal(images.detach().numpy(), model.decode(codes).detach().numpy())
    assert model.double().sample(1).dtype == np.float64


def test_reconstruction_draws_nothing():
    model, x = conv_vae(4), pixels(2)
    np.testing.assert_array_equal(model.reconstruct(x).detach().numpy(), model.reconstruct(x).detach().numpy())
    assert not np.array_equal(model(x).logits.detach().numpy(), model(x).logits.detach().numpy())


# All


def test_all_train_under_fit():
    """`fit` takes loss(model(inputs), targets): the images are both."""
    from microtensor.data import DataLoader, TensorDataset

    images = pixels(16).numpy()
    for factory, loss in ((conv_autoencoder, nn.mse_loss), (denoising_autoencoder, nn.mse_loss), (conv_vae, vae_loss)):
        model = factory(4)
        data = DataLoader(TensorDataset(images, images), batch_size=8)
        history = nn.fit(model, data, loss, nn.Adam(model.parameters()), epochs=2, validation=data, progress=False)
        assert history[1]["loss"] < history[0]["loss"]


@pytest.mark.parametrize("factory", FACTORIES)
def test_one_code_path_computes_on_the_stand_in_for_cupy(factory, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    host, x = factory(4), pixels(2)
    device = copy.deepcopy(host).to("cuda")
    results = []
    for model, given in ((host, x), (device, x.to("cuda"))):
        mt.manual_seed(0)
        y = model(given)
        loss = vae_loss(y, given) if factory is conv_vae else nn.mse_loss(y, given)
        loss.backward()
        results.append([loss.detach().cpu().numpy(), *(p.grad.cpu().numpy() for p in model.parameters())])
    assert all(type(p.grad.array) is strict.ndarray for p in device.parameters())
    for ours, expected in zip(results[1], results[0]):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
    if factory is conv_vae:
        assert device.sample(3).device == device.reconstruct(x.to("cuda")).device == "cuda:0"


@pytest.mark.parametrize("factory", FACTORIES)
def test_models_are_copied_and_pickled(factory):
    model, x = factory(4).eval(), pixels(1)
    expected = model.encode(x)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        for ours, theirs in zip(twin.encode(x), expected):
            np.testing.assert_array_equal(ours.detach().numpy(), theirs.detach().numpy())


@pytest.mark.parametrize("factory", FACTORIES)
def test_images_of_another_shape_are_refused(factory):
    message = (
        r": expected x \(N, 1, 28, 28\), got shape \(2, 28, 28\); give digits as pixels from 0 to 1: images\[:, None\] / 255"
    )
    with pytest.raises(ValueError, match=factory().__class__.__name__ + message):
        factory()(mt.Tensor(np.zeros((2, 28, 28), np.float32)))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: conv_autoencoder(0), ValueError, "ConvAutoencoder: code must be at least 1, got 0"),
        (lambda: conv_autoencoder(2.0), TypeError, "ConvAutoencoder: code"),
        (lambda: denoising_autoencoder("8"), TypeError, "DenoisingAutoencoder: code"),
        (lambda: conv_vae(-1), ValueError, "ConvVAE: latent must be at least 1, got -1"),
        (lambda: denoising_autoencoder(noise=1.5), ValueError, r"DenoisingAutoencoder: noise, .* between 0 and 1, got 1.5"),
        (
            lambda: denoising_autoencoder(noise="much"),
            TypeError,
            r"DenoisingAutoencoder: noise, .* must be a number, got 'much'",
        ),
        (lambda: vae_loss(conv_vae()(pixels(2)), pixels(3)), ValueError, r"x \(2, 1, 28, 28\) and target \(3, 1, 28, 28\)"),
    ],
)
def test_what_means_nothing_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("card", autoencoder.CARDS, ids=lambda card: card.name)
def test_cards(card):
    assert (card.factory.__name__, card.input_shape) == (card.name, (1, 28, 28))
