"""Losses."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cases.common import Case
from microtensor.nn import loss
from microtensor.testing import tensors


@st.composite
def classification(draw):
    n, classes = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    labels = draw(hnp.arrays(np.int64, (n,), elements=st.integers(0, classes - 1)))
    reduction = draw(st.sampled_from(["mean", "sum", "none"]))
    return Case(
        lambda x: loss.cross_entropy(x, labels, reduction),
        [draw(tensors((n, classes)))],
        lambda torch, x: torch.nn.functional.cross_entropy(x, torch.tensor(labels), reduction=reduction),
    )


CASES = {
    "_negative_log_likelihood": classification(),
}
