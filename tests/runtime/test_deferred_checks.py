"""Checks that do not stop a device, on the stand-in for CuPy: the error comes with the next copy to the host, and once."""

import sys
import threading

import numpy as np
import pytest
import strict
from waiting import no_waiting

import microtensor as mt
from microtensor import nn
from microtensor.runtime import deferred_checks
from microtensor.runtime.deferred_checks import check_limit, check_range

MESSAGE = "example: index {} is out of range"


@pytest.fixture
def cuda(monkeypatch):
    """A device "cuda" that is none, for which no check waits."""
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    deferred_checks.waiting.clear()
    yield
    deferred_checks.waiting.clear()


def on_device(numbers):
    return mt.tensor(np.asarray(numbers), device="cuda")


def array(numbers):
    return on_device(numbers).array


# Labels


def step(labels, x=None, **settings):
    """A step of training with these labels, in which nobody may wait: the loss, and the gradient for the scores."""
    x = on_device(np.zeros((3, 4), np.float32)) if x is None else x
    x.requires_grad_()
    with no_waiting():
        loss = nn.cross_entropy(x, labels, **settings)
        loss.sum().backward()
    return loss, x.grad


def test_what_forbids_waiting_sees_a_wait(cuda):
    with no_waiting(), pytest.raises(AssertionError, match="the host waits"):
        on_device([1.0]).numpy()


def test_a_step_with_good_labels_waits_for_nothing_and_nothing_follows(cuda):
    loss, g = step(on_device([0, 3, -100]))
    np.testing.assert_allclose(loss.numpy(), np.log(4), rtol=1e-6)
    assert np.isfinite(g.numpy()).all()
    assert not deferred_checks.waiting


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.numpy(),
        lambda x: x.cpu(),
        lambda x: x.to("cpu"),
        repr,
        lambda x: x.item(),
        float,
        lambda x: f"{x:.3f}",
        lambda x: x.tolist(),
    ],
)
def test_a_wrong_label_is_an_error_at_the_next_copy_and_only_there(cuda, read):
    loss, _ = step(on_device([0, 4, 1]))
    with pytest.raises(
        ValueError, match=r"cross_entropy: labels must be 0 to 3 for 4 classes, got 4; .* \(in an earlier step: on cuda:0"
    ):
        read(loss)
    assert np.isnan(loss.numpy())


def test_copying_anything_from_the_device_tells(cuda):
    step(on_device([0, -1, 1]))
    with pytest.raises(ValueError, match="labels must be 0 to 3 for 4 classes, got -1"):
        on_device([1.0]).numpy()


def test_only_the_affected_losses_and_gradients_are_nan(cuda):
    loss, g = step(on_device([0, 4, -100]), reduction="none")
    with pytest.raises(ValueError, match="got 4"):
        loss.numpy()
    np.testing.assert_array_equal(np.isnan(loss.numpy()), [False, True, False])
    np.testing.assert_array_equal(np.isnan(g.numpy()), [[False] * 4, [True] * 4, [False] * 4])


@pytest.mark.parametrize("settings", [{"weight": [1.0, 2.0, 3.0, 4.0]}, {"label_smoothing": 0.1}, {"ignore_index": 4}])
def test_settings_make_no_difference(cuda, settings):
    loss, _ = step(on_device([0, 5, 4]), **settings)
    with pytest.raises(ValueError, match="got 5"):
        loss.numpy()
    assert np.isnan(loss.numpy())


def test_the_other_losses_wait_no_more_than_cross_entropy(cuda):
    x = on_device(np.full((2, 3), 0.5)).requires_grad_()
    with no_waiting():
        for loss in (
            nn.nll_loss(x, on_device([1, 3])),
            nn.dice_loss(x, on_device([1, -1])),
            nn.cross_entropy(x, [[0.2, 0.3, 0.5]] * 2),
            nn.binary_cross_entropy(x * 3, np.zeros((2, 3))),
            nn.binary_cross_entropy_with_logits(x, np.zeros((2, 3)), pos_weight=[1.0, 2.0, 3.0]),
            nn.kl_div(x, x.detach(), "batchmean"),
            nn.mse_loss(x, np.zeros((2, 3))),
            nn.huber_loss(x, np.zeros((2, 3))),
        ):
            loss.backward()
    for message in (
        "nll_loss: labels .* got 3",
        "dice_loss: labels .* got -1",
        "binary_cross_entropy: x must be .* number 0.5",
    ):
        with pytest.raises(ValueError, match=message):
            x.numpy()
    x.numpy()


def test_labels_of_the_host_are_checked_at_once(cuda):
    with pytest.raises(ValueError, match=r"got 4; an example that is to be left out has the label ignore_index=-100$"):
        nn.cross_entropy(on_device(np.zeros((2, 4))), np.array([0, 4]))
    assert not deferred_checks.waiting


# The checks themselves


def test_on_the_cpu_the_error_is_raised_at_once():
    assert check_range(np.array([[0, 2]], np.uint8), 0, 3, MESSAGE) is None
    assert check_range(np.array([-3, 2]), -3, 3, MESSAGE) is None
    assert check_range(np.zeros(0, np.int64), 0, 0, MESSAGE) is None
    for index, number in (([0, 3], 3), ([-1, 0], -1), ([5, 7], 7)):
        with pytest.raises(IndexError, match=f"example: index {number} is out of range$"):
            check_range(np.array(index), 0, 3, MESSAGE)
    for index, number in ((-4, -4), (3, 3)):
        with pytest.raises(IndexError, match=f"index {number} is"):
            check_range(np.array(index, np.int16), -3, 3, MESSAGE)
    with pytest.raises(ValueError, match="got nan"):
        check_limit(np.array(np.nan), 5.0, "got {}")


def test_on_a_device_the_caller_learns_which_are_out_of_range(cuda):
    with no_waiting():
        outside = check_range(array([[0, 3], [-1, 2]]), 0, 3, MESSAGE)
    np.testing.assert_array_equal(outside.get(), [[False, True], [True, False]])
    assert check_range(array(np.zeros(0, np.int64)), 0, 3, MESSAGE) is None


def test_one_check_waits_for_many_calls(cuda):
    for index in ([0, 1], [2, 9], [4, 2], [0, 0]):
        check_range(array(index), 0, 3, MESSAGE)
    assert len(deferred_checks.waiting) == 1
    with pytest.raises(IndexError, match="index 9 is out of range"):
        on_device([1.0]).numpy()
    on_device([1.0]).numpy()


def test_each_of_several_failures_is_raised(cuda):
    check_range(array([5]), 0, 3, "first: {}")
    check_range(array([1]), 0, 3, "fine: {}")
    check_range(array([6]), 0, 3, "second: {}", ValueError)
    with pytest.raises(IndexError, match="first: 5"):
        on_device([1.0]).numpy()
    with pytest.raises(ValueError, match="second: 6"):
        on_device([1.0]).numpy()
    on_device([1.0]).numpy()
    assert not deferred_checks.waiting


def test_another_device_is_left_alone(cuda):
    other = array([7])
    other.gpu = 1
    check_limit(other, 3, "other: {}")
    with no_waiting():
        deferred_checks.raise_failures("cuda:0")
    with pytest.raises(ValueError, match=r"other: 7 \(in an earlier step: on cuda:1"):
        deferred_checks.raise_failures("cuda:1")


def test_so_many_checks_wait_and_no_more(cuda):
    check_range(array([8]), 0, 3, "oldest: {}")
    for i in range(deferred_checks.MAX_WAITING - 1):
        check_range(array([0]), 0, 3, f"{i}: {{}}")
    assert len(deferred_checks.waiting) == deferred_checks.MAX_WAITING
    with pytest.raises(IndexError, match="oldest: 8"):
        check_range(array([0]), 0, 3, "one too many: {}")
    for i in range(500):
        check_range(array([0]), 0, 3, f"{i} again: {{}}")
    assert len(deferred_checks.waiting) == deferred_checks.MAX_WAITING
    on_device([1.0]).numpy()
    assert not deferred_checks.waiting


def test_threads_raise_a_failure_once(cuda):
    caught = []

    def work(number):
        for i in range(200):
            check_range(array([i % 3]), 0, 3, MESSAGE)
            if number == 0 and i == 100:
                check_range(array([3]), 0, 3, "the one: {}")
            try:
                on_device([1.0]).numpy()
            except IndexError as error:
                caught.append(str(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(caught) == 1
    assert caught[0].startswith("the one: 3")
    assert not deferred_checks.waiting
