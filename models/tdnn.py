"""The time-delay network: Waibel, Hanazawa, Hinton, Shikano & Lang 1989, IEEE Trans. ASSP 37(3).

"Phoneme recognition using time-delay neural networks": which of the phonemes B, D and G occurs in 150 ms of speech.

    input 16 mel-scale coefficients × 15 frames of 10 ms → 8 × 13 frames → 3 × 9 frames → 3 scores

    layer            window                    units    connections                parameters
    hidden layer 1   3 frames, 16 coefficients 8 × 13   104 · (48 + 1) = 5,096     8 · (48 + 1) = 392
    hidden layer 2   5 frames, 8 units         3 × 9    27 · (40 + 1) = 1,107      3 · (40 + 1) = 123
    output           all 9 frames, 1 unit      3        summed                     none

Convolution along time, in the same year as the zip code network's in space. A phoneme may occur anywhere in the 150 ms, so each
unit applies the same weights at all times, and the evidence for each phoneme is summed over time.
"""

from __future__ import annotations

from microtensor import nn
from microtensor.tensor import Tensor

from .card import Card

COEFFICIENTS = 16
"""Mel-scale spectral coefficients per frame."""

LAYERS = ((8, 3), (3, 5))
"""The two hidden layers: units, and frames in the window of each (figure 2). The three units of the second are B, D and G."""


class TDNN(nn.Module):
    """Two convolutions along time, summed over time: (N, 16, frames) → (N, num_classes) scores. 515 parameters for 3 classes.

    The activation is the sigmoid. A score is the sum over time of a unit of hidden layer 2: of 9 values for 15 frames, so from
    0 to 9. The paper's output units have fixed equal weights and another sigmoid, which is left out here since it does not
    change the order of the scores. The number of frames may be 7 or more.
    """

    def __init__(self, num_classes: int = 3) -> None:
        (units, first), (_, second) = LAYERS
        self.hidden1 = nn.Conv1d(COEFFICIENTS, units, first)
        self.hidden2 = nn.Conv1d(units, num_classes, second)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, 16, frames) → (N, num_classes)."""
        x = self.hidden1(x).sigmoid()  # (N, 8, frames − 2)
        x = self.hidden2(x).sigmoid()  # (N, num_classes, frames − 6)
        return x.sum(dim=2)


def tdnn(num_classes: int = 3) -> TDNN:
    """The time-delay network of 1989: (N, 16, 15) → (N, num_classes) scores. 515 parameters, 6,072 multiply-adds.

    >>> sum(p.numel() for p in tdnn().parameters())
    515
    """
    return TDNN(num_classes)


CARDS = (
    Card(
        "tdnn",
        tdnn,
        year=1989,
        paper="Waibel et al.: Phoneme recognition using time-delay neural networks, IEEE Trans. ASSP 37(3)",
        idea="convolution along time: units see a few frames and share weights, so that a sound is detected at any time",
        input_shape=(16, 15),
    ),
)
