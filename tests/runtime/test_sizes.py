"""Settings that ask for more than the memory: an error in words, at once, and with no memory taken."""

import re
import subprocess
import sys
import textwrap
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microtensor as mt
from microtensor import nn
from microtensor.runtime.sizes import check_size, in_words, memory_bytes

torch = pytest.importorskip("torch")

HUGE = """
nn.conv2d(x, w, padding=2**20)
nn.conv2d(x, w, padding=2**40)
nn.conv2d(x, w, padding=(0, 2**40))
nn.conv2d(x, w, padding=(2**40, 0), stride=(1, 7))
nn.conv2d(x, w, padding=2**70)
nn.conv2d(x, w, padding=2**40, dilation=2**41 - 5)
nn.conv2d(x, w, dilation=2**40, padding="same")
nn.conv2d(x.double(), w.double(), padding=2**20, groups=1)
nn.conv2d(x, w, stride=2**70)
nn.max_pool2d(x, 2, 2**70)
nn.conv2d(x, w, padding=2**30, dilation=2**31 - 1)
nn.conv_transpose2d(x, w, dilation=2**30)
nn.conv1d(x[0, :, :1].reshape(1, 1, 2), w[0, :, :1].reshape(1, 1, 2), padding=2**40)
nn.Conv2d(1, 1, 2, padding=2**20)(x)
nn.Conv2d(1, 1, 2, padding=2**40, padding_mode="replicate")(x)
nn.Conv2d(4, 4, 2, padding=2**20, groups=4)(mt.ones(1, 4, 2, 2))
nn.Conv2d(1, 1, 2**22)
nn.Conv2d(2**40, 2**40, 1)
nn.conv_transpose2d(x, w, stride=2**20)
nn.conv_transpose2d(x, w, stride=2**40, output_padding=2**39)
nn.conv_transpose2d(x, w, dilation=2**40, output_padding=2**39)
nn.conv_transpose1d(x[0, :, :1].reshape(1, 1, 2), w[0, :, :1].reshape(1, 1, 2), dilation=2**40)
nn.ConvTranspose2d(1, 1, 2, stride=2**20)(x)
nn.unfold(x, 2, padding=2**20)
nn.unfold(x, 3, padding=2**40, dilation=2**40)
nn.Unfold(2, padding=2**40)(x)
nn.fold(mt.ones(1, 4, 4), 2**30, 2, stride=2**30 - 2)
nn.adaptive_avg_pool2d(x, 2**20)
nn.adaptive_avg_pool2d(x, (1, 2**40))
nn.adaptive_avg_pool1d(x[0], 2**40)
nn.adaptive_max_pool2d(x, 2**20)
nn.adaptive_max_pool1d(x[0], 2**40)
nn.interpolate(x, size=2**20)
nn.interpolate(x, size=(1, 2**40), mode="bilinear")
nn.interpolate(x, scale_factor=1e20, mode="bicubic")
nn.interpolate(x, scale_factor=1e308, mode="area")
nn.interpolate(x[0], scale_factor=1.7e308, mode="linear")
nn.Upsample(scale_factor=2**20)(x)
nn.max_unpool2d(x, mt.zeros(1, 1, 2, 2, dtype="int64"), 2, stride=2**20)
nn.ZeroPad2d(2**20)(x)
nn.ReplicationPad2d(2**20)(x)
mt.pad(x, (2**40, 0))
mt.pad(x, (2**40, 2**40), mode="replicate")
mt.pad(x, (2**63, 2**63))
x.repeat((2**20, 2**20, 1, 1))
x.repeat((2**63, 2**63, 1, 1))
x.tile(2**50)
mt.repeat_interleave(x, 2**50)
mt.repeat_interleave(x, [2**50, 1], 3)
mt.one_hot(mt.zeros(3, dtype="int64"), 2**50)
nn.Embedding(2**40, 2**10)
nn.Linear(2**30, 2**30)
nn.Bilinear(2**20, 2**20, 2**20)
nn.BatchNorm2d(2**50)
nn.GroupNorm(1, 2**50)
nn.LayerNorm((2**30, 2**30))
""".strip().splitlines()

PROGRAM = """
    import resource, sys, time
    import microtensor as mt
    from microtensor import nn
    x, w = mt.ones(1, 1, 2, 2), mt.ones(1, 1, 2, 2)
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    for call in sys.stdin.read().splitlines():
        start = time.perf_counter()
        try:
            eval(call)
            said = "nothing"
        except Exception as error:
            said = f"{type(error).__name__} {error}"
        print(round(time.perf_counter() - start, 2), said, sep="|")
"""


@pytest.fixture(scope="module")
def said():
    pytest.importorskip("resource")
    program = textwrap.dedent(PROGRAM)
    ran = subprocess.run([sys.executable, "-c", program], input="\n".join(HUGE), capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return dict(zip(HUGE, ran.stdout.splitlines()))


@pytest.mark.parametrize("call", HUGE)
def test_a_setting_that_asks_for_more_than_the_memory_is_refused_at_once(said, call):
    seconds, words = said[call].split("|", 1)
    beyond = words.startswith("ValueError ") and words.split(", got")[0].endswith(" must be less than 2³¹")
    assert (
        beyond
        and ("2**40" in call or "2**70" in call)
        or re.match(r"MemoryError \w+: .* takes (over )?\S+ \wiB, more than", words)
    )
    assert float(seconds) < 2


def sees_padding_alone(size, kernel, dilation, stride, padding, ceil_mode):
    """Whether a window does, by trying all."""
    ones = torch.ones(1, 1, *size)
    functional, settings = torch.nn.functional, {"stride": stride, "padding": padding, "dilation": dilation}
    return functional.max_pool2d(ones, kernel, ceil_mode=ceil_mode, **settings).isinf().any().item()


@given(st.data())
def test_a_kernel_that_is_mostly_in_the_padding_pools_what_it_sees(data):
    size = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    kernel, dilation = data.draw(st.integers(1, 40)), data.draw(st.sampled_from([1, 1, 2, 3]))
    reach = dilation * (kernel - 1) + 1
    padding = data.draw(st.integers(0, kernel // 2))
    settings = {"stride": data.draw(st.integers(1, 9)), "padding": padding, "ceil_mode": data.draw(st.booleans())}
    x = np.random.default_rng(0).standard_normal((1, 2, *size)).astype(np.float32)
    if min(size) + 2 * padding < reach:
        return
    ours, theirs = mt.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    functional = torch.nn.functional
    blind = dilation > 1 and sees_padding_alone(size, kernel, dilation, **settings)
    with pytest.raises(ValueError, match="nothing but padding") if blind else nullcontext():
        y, i = nn.max_pool2d(ours, kernel, dilation=dilation, return_indices=True, **settings)
    if not blind:
        z, j = functional.max_pool2d(theirs, kernel, dilation=dilation, return_indices=True, **settings)
        np.testing.assert_array_equal(y.numpy(), z.detach().numpy(), strict=True)
        np.testing.assert_array_equal(i.numpy(), j.numpy())
        np.testing.assert_allclose(
            mt.grad(y.sum(), ours)[0].numpy(), torch.autograd.grad(z.sum(), theirs)[0].numpy(), rtol=1e-5
        )
    if min(size) + 2 * padding < kernel:
        return
    for counted in (True, False):
        y = nn.avg_pool2d(ours, kernel, count_include_pad=counted, **settings)
        z = functional.avg_pool2d(theirs, kernel, count_include_pad=counted, **settings)
        np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-4, atol=1e-6, strict=True)
        np.testing.assert_allclose(
            mt.grad(y.sum(), ours)[0].numpy(), torch.autograd.grad(z.sum(), theirs)[0].numpy(), rtol=1e-4, atol=1e-6
        )


def test_a_kernel_of_a_billion_pixels_takes_no_time():
    x = mt.ones(1, 1, 2, 2)
    assert nn.max_pool2d(x, 2**30, 1, 2**29).tolist() == [[[[1.0] * 3] * 3]]
    assert nn.avg_pool2d(x, 2**30, 1, 2**29, count_include_pad=False).shape == (1, 1, 3, 3)
    assert nn.avg_pool2d(x, 2**15, 1, 2**14).mul(2.0**30).max().item() == 4.0
    assert nn.avg_pool1d(x[0], 2**30, 7, 2**29, ceil_mode=True).shape == (1, 2, 2)


def test_the_memory_is_known_and_what_fits_passes():
    assert 1 << 28 < memory_bytes() <= 1 << 46
    check_size("pad", "the result", (1 << 14, 1 << 14), np.zeros(0, np.uint8))
    assert in_words(2**100) == "1.099512e+12 EiB"
    assert in_words(2**3000) == "over 10¹⁵ EiB"
