"""Autoencoders for digits: networks that learn a code for images without labels, by reconstructing each image from its code.

    image 1×28×28 → 16@14×14 → 32@7×7 → code → 32@7×7 → 16@14×14 → image 1×28×28

They differ in what prevents the network from merely copying its input.

- `conv_autoencoder`: the code is short. Hinton & Salakhutdinov 2006, "Reducing the dimensionality of data with neural
  networks", Science 313; with convolutions Masci, Meier, Cireşan & Schmidhuber 2011, "Stacked convolutional auto-encoders for
  hierarchical feature extraction", ICANN.
- `denoising_autoencoder`: noise is added to the image, and the clean image is the target. Vincent, Larochelle, Bengio &
Manzagol 2008,
  "Extracting and composing robust features with denoising autoencoders", ICML.
- `conv_vae`: the encoder gives a distribution from which the code is sampled, and which is pulled towards N(0, 1), so that
  samples of N(0, 1) decode to images too. Kingma & Welling 2013, "Auto-encoding variational Bayes", arXiv 1312.6114.

Images are pixels from 0 to 1, not normalised: `digits.images[:, None] / 255`. The layers are our own choice; each paper has
others.
"""

from __future__ import annotations

from typing import NamedTuple

from microtensor import nn
from microtensor.autograd.arguments import is_number
from microtensor.ops.elementwise import where
from microtensor.random import Generator, rand_like, randn, randn_like
from microtensor.runtime.integers import as_integer
from microtensor.tensor import Tensor

from .card import Card

MAPS = (16, 32)
"""Feature maps of the two convolutions. Their kernels are 4×4 with stride 2: every output pixel of a transposed convolution is
a sum of equally many terms, which avoids checkerboard artefacts (Odena et al. 2016, distill.pub/2016/deconv-checkerboard)."""

SIDE = 7
"""Pixels per side of the last feature maps: 28 / 2 / 2."""


def encoder(numbers: int) -> nn.Sequential:
    """(N, 1, 28, 28) → (N, numbers)."""
    first, second = MAPS
    return nn.Sequential(
        nn.Conv2d(1, first, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(first, second, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(second * SIDE**2, numbers),
    )


def decoder(numbers: int) -> nn.Sequential:
    """(N, numbers) → (N, 1, 28, 28) logits of pixels: the encoder's layers, transposed, in reverse order."""
    first, second = MAPS
    return nn.Sequential(
        nn.Linear(numbers, second * SIDE**2),
        nn.ReLU(),
        nn.Unflatten(1, (second, SIDE, SIDE)),
        nn.ConvTranspose2d(second, first, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(first, 1, 4, stride=2, padding=1),
    )


def _check(name: str, x: Tensor) -> None:
    if x.shape[1:] != (1, 28, 28):
        hint = "give digits as pixels from 0 to 1: images[:, None] / 255"
        raise ValueError(f"{name}: expected x (N, 1, 28, 28), got shape {x.shape}; {hint}")


class ConvAutoencoder(nn.Module):
    """Encodes an image as a short code and decodes it again: (N, 1, 28, 28) → (N, 1, 28, 28), pixels from 0 to 1.

    Trained with `nn.mse_loss(model(x), x)`, or with `nn.binary_cross_entropy(model(x), x)`.

    Args:
        code: number of elements of the code.

    Raises:
        TypeError, ValueError: `code` is not an integer of 1 or more.
    """

    def __init__(self, code: int = 16) -> None:
        as_integer(type(self).__name__, "code", code, least=1)
        self.encoder, self.decoder = encoder(code), decoder(code)

    def encode(self, x: Tensor) -> Tensor:
        """Images (N, 1, 28, 28) → codes (N, code).

        Raises:
            ValueError: x has another shape.
        """
        _check(type(self).__name__, x)
        return self.encoder(x)

    def decode(self, code: Tensor) -> Tensor:
        """Codes (N, code) → images (N, 1, 28, 28)."""
        return self.decoder(code).sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """x (N, 1, 28, 28) → the same shape.

        Raises:
            ValueError: x has another shape.
        """
        return self.decode(self.encode(x))


class DenoisingAutoencoder(ConvAutoencoder):
    """Removes noise: (N, 1, 28, 28) → (N, 1, 28, 28), pixels from 0 to 1.

    In training mode, `forward` adds the noise itself (`corrupt`), and the loss compares with the clean images: `loss(model(x),
    x)`. In eval mode, images are not changed. The code may be long here, since copying the input does not help.

    Args:
        code: number of elements of the code.
        noise: the probability that a pixel is set to 0.
        generator: source of random numbers; None: the default generator.

    Raises:
        TypeError, ValueError: `code` is not an integer of 1 or more, `noise` not a probability.
    """

    def __init__(self, code: int = 128, noise: float = 0.25, *, generator: Generator | None = None) -> None:
        super().__init__(code)
        if not is_number(noise):
            raise TypeError(f"DenoisingAutoencoder: noise, the probability to lose a pixel, must be a number, got {noise!r}")
        if not 0 <= noise <= 1:
            raise ValueError(f"DenoisingAutoencoder: noise, the probability to lose a pixel, is between 0 and 1, got {noise}")
        self.noise, self.generator = noise, generator

    def corrupt(self, x: Tensor) -> Tensor:
        """Set each pixel to 0 with probability `noise`: x of any shape → the same shape.

        Masking noise, section 2.3. (The paper masks the same number of pixels in each image; here the number varies a little.)
        """
        return where(rand_like(x, generator=self.generator) < self.noise, 0.0, x)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, 1, 28, 28) → the same shape.

        Raises:
            ValueError: x has another shape.
        """
        _check(type(self).__name__, x)
        return super().forward(self.corrupt(x) if self.training else x)

    def extra_repr(self) -> str:
        """The setting."""
        return f"noise={self.noise}"


class Painted(NamedTuple):
    """The outputs of a variational autoencoder."""

    logits: Tensor
    """Of the pixels, decoded from a sampled code: (N, 1, 28, 28)."""
    mean: Tensor
    """Mean μ of the distribution of the code: (N, latent)."""
    log_variance: Tensor
    """Logarithm of its variance, log σ²: (N, latent)."""


class ConvVAE(nn.Module):
    """A variational autoencoder: (N, 1, 28, 28) → `Painted`. Train it with `vae_loss(model(x), x)`.

    The encoder gives a normal distribution of the code: a mean μ and a variance σ² for each element. A code is sampled from it,
    and the decoder gives the probability of ink for each pixel (appendix C).

    Args:
        latent: number of elements of the code.
        generator: source of random numbers; None: the default generator.

    Raises:
        TypeError, ValueError: `latent` is not an integer of 1 or more.
    """

    def __init__(self, latent: int = 16, *, generator: Generator | None = None) -> None:
        as_integer("ConvVAE", "latent", latent, least=1)
        self.latent, self.generator = latent, generator
        self.encoder, self.decoder = encoder(2 * latent), decoder(latent)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, 1, 28, 28) → mean and log-variance of their codes, both (N, latent).

        Raises:
            ValueError: x has another shape.
        """
        _check("ConvVAE", x)
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        return mean, log_variance

    def reparameterise(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Sample a code: μ + σ · ε with ε from N(0, 1), all of one shape (section 2.4, the reparameterisation trick).

        A direct sample of N(μ, σ²) has no derivative with respect to μ and σ; written like this, the derivatives are 1 and ε.
        """
        return mean + (log_variance / 2).exp() * randn_like(mean, generator=self.generator)

    def decode(self, code: Tensor) -> Tensor:
        """Codes (N, latent) → images (N, 1, 28, 28): the probability of ink for each pixel."""
        return self.decoder(code).sigmoid()

    def forward(self, x: Tensor) -> Painted:
        """x (N, 1, 28, 28) → the outputs for a sampled code. Eval mode samples too: the loss is a mean over samples.

        Raises:
            ValueError: x has another shape.
        """
        mean, log_variance = self.encode(x)
        return Painted(self.decoder(self.reparameterise(mean, log_variance)), mean, log_variance)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Images (N, 1, 28, 28) → reconstructed images, decoded from the mean of their codes, without sampling."""
        return self.decode(self.encode(x)[0])

    def sample(self, n: int) -> Tensor:
        """New images (n, 1, 28, 28), decoded from codes sampled from N(0, 1)."""
        like = next(self.parameters())
        return self.decode(randn((n, self.latent), generator=self.generator, dtype=like.dtype, device=like.device))


def vae_loss(painted: Painted, x: Tensor) -> Tensor:
    """The loss of a variational autoencoder: the negative lower bound (ELBO) of log p(x), mean over images, in nats. A scalar.

    The sum of −½ Σ (1 + log σ² − μ² − σ²) over the code, which is its KL divergence from N(0, 1), and of the cross-entropy of
    the pixels, summed over the image, for one code per image (L = 1). Kingma & Welling 2013, equation 10.

    Raises:
        TypeError, ValueError: x has another shape than `painted.logits`.

    >>> half = Tensor([[[[0.0]]]])
    >>> vae_loss(Painted(half, mean=Tensor([[0.0]]), log_variance=Tensor([[0.0]])), Tensor([[[[1.0]]]]))
    Tensor(0.6931472)
    """
    logits, mean, log_variance = painted
    pixels = nn.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    divergence = -(1 + log_variance - mean**2 - log_variance.exp()).sum() / 2
    return (pixels + divergence) / len(x)


def conv_autoencoder(code: int = 16) -> ConvAutoencoder:
    """An autoencoder with a short code: (N, 1, 28, 28) → the same. 68,721 parameters, 953,344 multiply-adds.

    >>> sum(p.numel() for p in conv_autoencoder().parameters())
    68721
    """
    return ConvAutoencoder(code)


def denoising_autoencoder(code: int = 128, noise: float = 0.25) -> DenoisingAutoencoder:
    """An autoencoder that removes noise: (N, 1, 28, 28) → the same. 420,065 parameters, 1,304,576 multiply-adds."""
    return DenoisingAutoencoder(code, noise)


def conv_vae(latent: int = 16) -> ConvVAE:
    """A variational autoencoder: (N, 1, 28, 28) → logits (N, 1, 28, 28), mean and log-variance (N, latent).

    93,825 parameters, 978,432 multiply-adds.
    """
    return ConvVAE(latent)


_DIGIT = (1, 28, 28)

CARDS = (
    Card(
        "denoising_autoencoder",
        denoising_autoencoder,
        2008,
        "Vincent et al.: Extracting and composing robust features with denoising autoencoders, ICML 2008",
        "reconstruct the clean image from a noisy one: to fill the gaps, a network must know what images look like",
        _DIGIT,
    ),
    Card(
        "conv_autoencoder",
        conv_autoencoder,
        2011,
        "Masci et al.: Stacked convolutional auto-encoders for hierarchical feature extraction, ICANN 2011",
        "a short code from which the image can be reconstructed, learned without labels",
        _DIGIT,
    ),
    Card(
        "conv_vae",
        conv_vae,
        2013,
        "Kingma, Welling: Auto-encoding variational Bayes, arXiv 1312.6114",
        "codes sampled as μ + σ · noise, near N(0, 1): gradients pass through sampling, and random codes give new images",
        _DIGIT,
    ),
)
