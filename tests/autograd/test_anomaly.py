"""`detect_anomaly` finds the first culprit, and blames nobody else."""

import numpy as np
import pytest

import microtensor as mt
from microtensor.autograd.anomaly import detect_anomaly

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def leaf(*values):
    return mt.Tensor(np.array(values), requires_grad=True)


def test_the_operation_the_element_and_the_line_are_named():
    with (
        pytest.raises(
            FloatingPointError,
            match=r"log made the first -inf, at element \(1,\) of shape \(2,\).*test_anomaly\.py:\d+: .*leaf\(1\.0, 0\.0\)\.log",
        ),
        detect_anomaly(),
    ):
        leaf(1.0, 0.0).log()


def test_a_derivative_is_named_with_the_line_of_its_operation():
    with detect_anomaly():
        y = leaf(1.0, 0.0).sqrt()
        with pytest.raises(
            FloatingPointError,
            match=r"the derivative of sqrt made the first inf, at element \(1,\).*test_anomaly\.py:\d+: y = ",
        ):
            y.sum().backward()


def test_what_was_not_finite_before_is_not_blamed():
    with detect_anomaly():
        y = leaf(np.nan, 1.0) * 2
        y.sum().backward()


def test_without_it_nothing_is_raised_and_it_ends_with_its_block():
    with detect_anomaly():
        pass
    assert leaf(0.0).log().item() == -np.inf


def test_finite_steps_pass():
    x = leaf(1.0, 2.0)
    with detect_anomaly():
        (x * x).exp().sum().backward()
    assert np.isfinite(x.grad.numpy()).all()
