"""Transforms of whole batches, against slow ones that take image after image; and what all have in common."""

import math

import numpy as np
import pytest

import microtensor as mt
from microtensor.data import DataLoader, LabelledImages, transforms
from microtensor.data.transforms import (
    CenterCrop,
    Compose,
    Cutout,
    Mixup,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    RandomRotation,
    RandomVerticalFlip,
    Resize,
    ToFloat,
    Transform,
)

DTYPES = ("uint8", "float32", "float64")


def batch(shape=(6, 3, 7, 9), dtype="uint8", seed=0):
    images = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return images if dtype == "uint8" else images.astype(dtype) / 255


def rounded(images, like):
    return np.clip(np.rint(images), 0, 255).astype(np.uint8) if like.dtype == np.uint8 else images.astype(like.dtype)


def drawn(seed=5):
    """Two generators that draw the same: one for the transform, one for the reference."""
    return mt.Generator(seed), mt.Generator(seed)


EVERY = [
    ToFloat(),
    Normalize((0.1, 0.2, 0.3), 0.5),
    RandomHorizontalFlip(),
    RandomVerticalFlip(p=0.3),
    CenterCrop(4),
    RandomCrop(5, padding=2),
    RandomCrop((9, 4), padding=(1, 2, 3, 4), padding_mode="reflect"),
    RandomRotation(30),
    Resize((5, 12)),
    Resize(3),
    Cutout(3),
    Compose([RandomHorizontalFlip(), Cutout(2), RandomCrop(6)]),
]
RANDOM = [t for t in EVERY if "Random" in repr(t) or "Cutout" in repr(t)]
TO_FLOAT = (ToFloat, Normalize)


@pytest.mark.parametrize("transform", EVERY, ids=repr)
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_all_have_in_common(transform, dtype):
    images = batch(dtype=dtype)
    before = images.copy()
    state = mt.random.default.get_state()
    first = transform(images, generator=mt.Generator(1))
    assert mt.random.default.get_state() == state  # nothing is drawn from elsewhere
    assert first.dtype == ("float32" if dtype == "uint8" and isinstance(transform, TO_FLOAT) else dtype)
    assert first.shape[:2] == (6, 3)
    assert first.flags.c_contiguous
    assert not np.shares_memory(first, images)
    np.testing.assert_array_equal(images, before)
    again, labels, more = transform(images, np.arange(6), "more", generator=mt.Generator(1))
    np.testing.assert_array_equal(first, again)
    assert labels.tolist() == list(range(6))
    assert more == "more"
    mt.manual_seed(1)
    np.testing.assert_array_equal(first, transform(images))
    assert transform(images[:0], generator=mt.Generator(1)).shape == (0, *first.shape[1:])
    view = batch((6, 9, 7, 3), dtype).transpose(0, 3, 2, 1)  # what is not contiguous is the same to it
    np.testing.assert_array_equal(
        transform(view, generator=mt.Generator(1)), transform(np.ascontiguousarray(view), generator=mt.Generator(1))
    )


@pytest.mark.parametrize("transform", EVERY, ids=repr)
def test_bytes_are_rounded_floats(transform):
    images = batch()
    of_bytes = transform(images, generator=mt.Generator(1))
    of_floats = transform(images.astype(np.float32), generator=mt.Generator(1))
    if isinstance(transform, TO_FLOAT):
        of_floats = transform(images.astype(np.float32) / 255, generator=mt.Generator(1))
        np.testing.assert_allclose(of_bytes, of_floats, rtol=1e-5, atol=1e-6)
    else:
        np.testing.assert_array_equal(of_bytes, rounded(of_floats, images))


@pytest.mark.parametrize("transform", RANDOM, ids=repr)
def test_each_draw_is_another(transform):
    images = batch()
    results = [transform(images, generator=mt.Generator(seed)).tobytes() for seed in range(5)]
    assert len(set(results)) >= 4
    same = np.repeat(images[:1], 40, axis=0)
    assert len({image.tobytes() for image in transform(same, generator=mt.Generator(0))}) > 1  # image by image


# Numbers


def test_to_float_counts_255_as_one():
    assert ToFloat()(np.array([[[[0, 51, 255]]]], np.uint8)).tolist() == [[[[0, np.float32(51) * np.float32(1 / 255), 1]]]]


@pytest.mark.parametrize("dtype", DTYPES)
def test_normalize_is_its_formula(dtype):
    images = batch(dtype=dtype)
    mean, std = (0.49, 0.48, 0.44), (0.247, 0.243, 0.261)
    expected = np.stack([(images[:, c] / (255 if dtype == "uint8" else 1) - mean[c]) / std[c] for c in range(3)], axis=1)
    np.testing.assert_allclose(Normalize(mean, std)(images), expected, rtol=1e-5, atol=1e-6)
    dataset = LabelledImages(batch(), np.zeros(6, int), mean=mean, std=std)
    np.testing.assert_allclose(Normalize(mean, std)(batch()), dataset[:][0], rtol=1e-6, atol=1e-6)


# Flips and crops


@pytest.mark.parametrize(("kind", "axis"), [(RandomHorizontalFlip, 2), (RandomVerticalFlip, 1)])
@pytest.mark.parametrize("p", [0, 0.3, 1])
def test_flips(kind, axis, p):
    ours, theirs = drawn()
    images = batch((50, 2, 4, 5))
    flipped = theirs.bernoulli(p, (50,))
    expected = [np.flip(image, axis) if flip else image for image, flip in zip(images, flipped)]
    np.testing.assert_array_equal(kind(p)(images, generator=ours), expected)
    assert flipped.mean() == pytest.approx(p, abs=0.15)


@pytest.mark.parametrize(("size", "top", "left"), [(4, 2, 2), ((5, 9), 1, 0), ((2, 4), 2, 2), ((7, 8), 0, 0)])
def test_center_crop(size, top, left):
    h, w = (size, size) if isinstance(size, int) else size
    images = batch()
    np.testing.assert_array_equal(CenterCrop(size)(images), images[:, :, top : top + h, left : left + w])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
@pytest.mark.parametrize(("size", "padding"), [(7, None), (5, 2), ((8, 6), (1, 3)), ((3, 12), (1, 2, 3, 4))])
def test_random_crop(dtype, mode, size, padding):
    ours, theirs = drawn()
    images = batch(dtype=dtype)
    h, w = (size, size) if isinstance(size, int) else size
    left, top, right, bottom = {
        None: (0, 0, 0, 0),
        2: (2, 2, 2, 2),
        (1, 3): (1, 3, 1, 3),
        (1, 2, 3, 4): (1, 2, 3, 4),
    }[padding]
    tops = theirs.integers(0, 7 + top + bottom - h + 1, (6,))
    lefts = theirs.integers(0, 9 + left + right - w + 1, (6,))
    fill = (3, 0, 1)
    for image, result, y, x in zip(
        images, RandomCrop(size, padding, fill=fill, padding_mode=mode)(images, generator=ours), tops, lefts, strict=True
    ):
        for c in range(3):
            settings = {"constant_values": fill[c]} if mode == "constant" else {}
            padded = np.pad(image[c], ((top, bottom), (left, right)), mode, **settings)
            np.testing.assert_array_equal(result[c], padded[y : y + h, x : x + w])


def test_padding_is_that_of_pytorch():
    torch = pytest.importorskip("torch")
    images = batch((1, 1, 4, 5), "float32")
    for mode, theirs in (("constant", "constant"), ("edge", "replicate"), ("reflect", "reflect")):
        padded = torch.nn.functional.pad(torch.tensor(images), (2, 1, 2, 3), theirs).numpy()
        np.testing.assert_array_equal(RandomCrop((9, 8), (2, 2, 1, 3), padding_mode=mode)(images), padded)


def test_every_place_is_equally_likely():
    images = np.broadcast_to(np.arange(20, dtype=np.float32).reshape(1, 1, 4, 5), (4000, 1, 4, 5))
    corners = RandomCrop((2, 3))(images, generator=mt.Generator(0))[:, 0, 0, 0].astype(int)
    places, counts = np.unique(corners, return_counts=True)
    assert places.tolist() == [0, 1, 2, 5, 6, 7, 10, 11, 12]
    np.testing.assert_allclose(counts, 4000 / 9, rtol=0.2)


# Rotation


def slowly_turned(image, degrees, fill):
    """One channel (H, W), pixel by pixel."""
    height, width = image.shape
    result = np.empty((height, width))
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))

    def pixel(y, x):
        return float(image[y, x]) if 0 <= y < height and 0 <= x < width else fill

    for i in range(height):
        for j in range(width):
            right, up = j - (width - 1) / 2, (height - 1) / 2 - i
            # Turned back, clockwise: (right, up) was there before.
            x = cos * right + sin * up + (width - 1) / 2
            y = (height - 1) / 2 - (cos * up - sin * right)
            x0, y0 = math.floor(x), math.floor(y)
            fx, fy = x - x0, y - y0
            upper = (1 - fx) * pixel(y0, x0) + fx * pixel(y0, x0 + 1)
            lower = (1 - fx) * pixel(y0 + 1, x0) + fx * pixel(y0 + 1, x0 + 1)
            result[i, j] = (1 - fy) * upper + fy * lower
    return result


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("degrees", [0, 20, 200, (-10, 40), (90, 90), (33, 33)])
@pytest.mark.parametrize("shape", [(5, 2, 7, 9), (4, 1, 6, 6), (2, 3, 1, 4)])
def test_rotation(dtype, degrees, shape):
    ours, theirs = drawn()
    images = batch(shape, dtype)
    low, high = degrees if isinstance(degrees, tuple) else (-degrees, degrees)
    angles = theirs.uniform(low, high, (shape[0], 1, 1), np.float64).ravel()
    fill = tuple(0.25 * c for c in range(shape[1])) if dtype != "uint8" else tuple(range(10, 10 + shape[1]))
    result = RandomRotation(degrees, fill=fill)(images, generator=ours)
    for image, turned, angle in zip(images, result, angles, strict=True):
        for c in range(shape[1]):
            expected = slowly_turned(image[c], angle, fill[c])
            tolerance = {"uint8": 0.51, "float32": 1e-5, "float64": 1e-12}[dtype]
            np.testing.assert_allclose(turned[c], expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("quarters", [-1, 0, 1, 2])
def test_quarter_turns_are_counter_clockwise(quarters):
    images = batch((2, 3, 8, 8))
    turned = RandomRotation((90 * quarters, 90 * quarters))(images)
    np.testing.assert_array_equal(turned, np.rot90(images, quarters, axes=(2, 3)))


def test_rotation_is_that_of_pillow_inside():
    pillow = pytest.importorskip("PIL.Image")
    image = batch((1, 1, 40, 40), "float32")
    turned = RandomRotation((25, 25))(image)
    theirs = pillow.fromarray(image[0, 0]).rotate(25, resample=pillow.Resampling.BILINEAR)
    np.testing.assert_allclose(turned[0, 0, 8:-8, 8:-8], np.asarray(theirs)[8:-8, 8:-8], atol=1e-3)


# Resize


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("size", [(7, 9), (3, 4), (14, 18), (10, 5), (1, 1), (20, 2)])
def test_resize_is_that_of_pytorch(antialias, size):
    torch = pytest.importorskip("torch")
    images = batch(dtype="float64")
    theirs = torch.nn.functional.interpolate(
        torch.tensor(images), size, mode="bilinear", align_corners=False, antialias=antialias
    )
    np.testing.assert_allclose(Resize(size, antialias=antialias)(images), theirs.numpy(), atol=1e-12)
    of_floats = Resize(size, antialias=antialias)(images.astype(np.float32))
    np.testing.assert_allclose(of_floats, theirs.numpy(), atol=1e-6)


@pytest.mark.parametrize("size", [(3, 4), (14, 18), (10, 5)])
def test_resize_of_bytes_is_that_of_pillow(size):
    pillow = pytest.importorskip("PIL.Image")
    images = batch((2, 3, 7, 9))
    for image, result in zip(images, Resize(size)(images), strict=True):
        theirs = pillow.fromarray(image.transpose(1, 2, 0)).resize(size[::-1], pillow.Resampling.BILINEAR)
        assert np.abs(np.asarray(theirs).transpose(2, 0, 1).astype(int) - result).max() <= 1  # Pillow rounds twice


def test_resize_of_one_number_is_the_shorter_side():
    assert Resize(14)(batch()).shape == (6, 3, 14, 18)
    assert Resize(3)(batch()).shape == (6, 3, 3, 3)
    assert Resize(3)(batch((1, 1, 10, 4))).shape == (1, 1, 7, 3)


# Cutout and mixup


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 3, 4, (2, 5), 20])
def test_cutout(dtype, size):
    ours, theirs = drawn()
    images = batch(dtype=dtype) + (1 if dtype != "uint8" else 0)
    h, w = (size, size) if isinstance(size, int) else size
    tops, lefts = (theirs.integers(0, n, (6, 1)).ravel() - k // 2 for n, k in ((7, h), (9, w)))
    expected = images.copy()
    for image, y, x in zip(expected, tops, lefts):
        image[:, max(y, 0) : y + h, max(x, 0) : x + w] = np.array([[[3]], [[0]], [[5]]])
    np.testing.assert_array_equal(Cutout(size, fill=(3, 0, 5))(images, generator=ours), expected)


def test_cutout_may_stick_out_everywhere():
    images = np.ones((4000, 1, 4, 5), np.float32)
    holes = (Cutout(3)(images, generator=mt.Generator(0)) == 0)[:, 0]
    np.testing.assert_allclose(holes.mean(0)[1:-1, 1:-1], 9 / 20, atol=0.05)
    np.testing.assert_allclose(holes.mean(0)[0, 0], 4 / 20, atol=0.05)
    assert set(holes.sum(axis=(1, 2))) == {4, 6, 9}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup(dtype, alpha):
    ours, theirs = drawn()
    images, labels = batch(dtype=dtype), np.array([0, 1, 2, 3, 3, 0], np.uint8)
    share, partner = float(theirs.beta(alpha, alpha, (), np.float64)), theirs.permutation(6)
    mixed, probabilities, more = Mixup(4, alpha)(images, labels, "more", generator=ours)
    assert more == "more"
    assert mixed.dtype == images.dtype
    assert probabilities.dtype == np.float32
    assert probabilities.shape == (6, 4)
    tolerance = 0.51 if dtype == "uint8" else 1e-6
    for i, j in enumerate(partner):
        np.testing.assert_allclose(mixed[i], share * images[i] + (1 - share) * images[j], rtol=0, atol=tolerance)
        expected = np.zeros(4)
        expected[labels[i]] += share
        expected[labels[j]] += 1 - share
        np.testing.assert_allclose(probabilities[i], expected, atol=1e-6)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)


def test_mixup_of_probabilities_mixes_them():
    images = batch(dtype="float32")
    hard = np.array([0, 1, 2, 3, 3, 0])
    one = Mixup(4)(images, hard, generator=mt.Generator(1))
    two = Mixup(4)(images, np.eye(4, dtype=np.float32)[hard], generator=mt.Generator(1))
    np.testing.assert_array_equal(one[1], two[1])
    twice = Compose([Mixup(4), Mixup(4)])(images, hard, generator=mt.Generator(1))
    np.testing.assert_allclose(twice[1].sum(1), 1, atol=1e-6)


def test_mixup_in_a_loader():
    images = batch((20, 1, 4, 4))
    dataset = LabelledImages(images[:, 0], np.arange(20) % 10)
    loader = DataLoader(dataset, 8, transform=Mixup(10, alpha=0.4), generator=mt.Generator(0))
    for x, y in loader:
        assert x.dtype == y.dtype == np.float32
        assert y.shape == (len(x), 10)
        np.testing.assert_allclose(y.numpy().sum(1), 1, atol=1e-6)
    raw = DataLoader(dataset.raw(), 8, transform=Compose([RandomCrop(4, 1), Normalize(0.5, 0.5)]), num_workers=2)
    assert [(x.shape, x.dtype) for x, _ in raw] == [((n, 1, 4, 4), np.float32) for n in (8, 8, 4)]


# Of one's own


def test_a_transform_of_ones_own():
    class Darker(Transform):
        def __init__(self, least):
            self.least = least

        def apply(self, images, generator):
            return images * generator.uniform(self.least, 1, (len(images), 1, 1, 1), images.dtype)

    images, labels = Compose([ToFloat(), Darker(0.5), lambda x: x + 1])(batch(), np.arange(6), generator=mt.Generator(0))
    assert labels.tolist() == list(range(6))
    assert 1 <= images.min() <= images.max() < 2
    assert repr(Compose([Darker(0.5)])) == "Compose(transforms=[Darker(least=0.5)])"
    with pytest.raises(NotImplementedError, match="Transform: write apply"):
        Transform()(batch())


IMAGES = batch()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ToFloat()([[1]]), TypeError, r"ToFloat: expected images as a NumPy array, got builtins\.list; transforms run"),
        (lambda: ToFloat()(mt.Tensor([1.0])), TypeError, r"got microtensor\.tensor\.Tensor"),
        (lambda: ToFloat()(IMAGES.astype(int)), TypeError, "expected images of uint8 or floating-point numbers, got int64"),
        (
            lambda: ToFloat()(IMAGES[:, 0]),
            ValueError,
            r"expected images \(N, C, H, W\), got \(6, 7, 9\); one image gets its axis by \[None\], grey ones by \[:, None\]",
        ),
        (
            lambda: Cutout(3)(IMAGES, generator=3),
            TypeError,
            "Cutout: generator: expected a microtensor.Generator or None, got int",
        ),
        (lambda: Compose([3]), TypeError, r"Compose: transforms\[0\]: expected a transform or a function, got int"),
        (
            lambda: Compose([Resize(3), RandomHorizontalFlip]),
            TypeError,
            r"Compose: transforms\[1\] is the class RandomH.* create one: Ra",
        ),
        (lambda: Compose(Resize(3)), TypeError, r"Compose: expected one list of transforms, got Resize; put brackets around"),
        (lambda: Compose(Resize(3), Resize(4)), TypeError, r"Compose: expected one list of transforms, got Resize, Resize;"),
        (lambda: Compose(None), TypeError, r"Compose: expected one list of transforms, got NoneType"),
        (lambda: Compose([[Resize(3)]]), TypeError, r"transforms\[0\]: .* got list; put its elements into the one list"),
        (
            lambda: Compose([lambda x: None])(IMAGES),
            TypeError,
            r"transform <lambda>: expected new images, got None; .*`return`",
        ),
        (lambda: Normalize((1, 2, 3), (1, 2)), ValueError, "Normalize: 3 numbers as mean, but 2 as std; give one per channel"),
        (lambda: Normalize(math.nan, 1), ValueError, "Normalize: mean: expected finite numbers, got nan"),
        (
            lambda: Normalize((123.7, 116.3, 103.5), (58, 57, 57))(IMAGES),
            ValueError,
            "uint8 counts as 0 to 1; divide both by 255",
        ),
        (lambda: Cutout(3, fill=math.inf), ValueError, "Cutout: fill: expected finite numbers, got inf"),
        (
            lambda: Cutout(3, fill=300)(IMAGES),
            ValueError,
            r"fill: expected numbers from 0 to 255 for images of uint8, got \(300",
        ),
        (lambda: RandomCrop(3, 2.5), ValueError, "RandomCrop: padding: expected 1, 2 or 4 integers of 0 or more, got 2.5"),
        (lambda: RandomCrop(3, True), ValueError, "RandomCrop: padding: expected 1, 2 or 4 integers"),
        (lambda: Resize(3, antialias="no"), TypeError, "Resize: antialias: expected True or False, got 'no'"),
        (lambda: Mixup(4, (1, 2)), TypeError, r"Mixup: alpha: expected a number, got \(1, 2\)"),
        (lambda: Normalize(0.5, 0), ValueError, r"Normalize: std: expected positive numbers, got \(0\.0,\)"),
        (lambda: Normalize("a", 1), TypeError, "Normalize: mean: expected a number, or one per channel, got 'a'"),
        (
            lambda: Normalize((1, 2), 1)(IMAGES),
            ValueError,
            r"Normalize: mean: 2 numbers for images of 3 channels \(6, 3, 7, 9\)",
        ),
        (lambda: RandomHorizontalFlip(1.5), ValueError, "RandomHorizontalFlip: p: expected a probability from 0 to 1, got 1.5"),
        (lambda: RandomVerticalFlip("a"), ValueError, "RandomVerticalFlip: p: expected a probability from 0 to 1, got 'a'"),
        (lambda: CenterCrop(8)(IMAGES), ValueError, "CenterCrop: 8 × 8 is larger than the images, 7 × 9; Resize them first"),
        (lambda: CenterCrop(0), ValueError, "CenterCrop: size: expected 1 pixel or more, got 0"),
        (lambda: CenterCrop((1, 2, 3)), TypeError, r"CenterCrop: size: expected an integer or two, .* got \(1, 2, 3\)"),
        (lambda: RandomCrop(2.5), TypeError, r"RandomCrop: size: expected an integer or two, .* got 2\.5"),
        (lambda: RandomCrop(12, 2)(IMAGES), ValueError, "RandomCrop: 12 × 12 is larger than the padded images, 11 × 13"),
        (lambda: RandomCrop(3, -1), ValueError, "RandomCrop: padding: expected 1, 2 or 4 integers of 0 or more, got -1"),
        (lambda: RandomCrop(3, (1, 2, 3)), ValueError, r"padding: .* got \(1, 2, 3\)"),
        (lambda: RandomCrop(3, padding_mode="wrap"), ValueError, "padding_mode: expected one of constant, edge, .* got 'wrap'"),
        (lambda: RandomCrop(3, 1, fill=(1, 2))(IMAGES), ValueError, "fill: 2 numbers for images of 3 channels"),
        (
            lambda: RandomRotation(-5),
            ValueError,
            r"RandomRotation: degrees: expected d of 0 or more, or \(lowest, highest\), got -5",
        ),
        (lambda: RandomRotation((5, -5)), ValueError, "RandomRotation: degrees"),
        (lambda: RandomRotation((1, 2, 3)), ValueError, "RandomRotation: degrees"),
        (lambda: RandomRotation("a"), TypeError, "RandomRotation: degrees: expected a number"),
        (lambda: Resize((0, 3)), ValueError, r"Resize: size: expected 1 pixel or more, got \(0, 3\)"),
        (lambda: Cutout("a"), TypeError, "Cutout: size"),
        (lambda: Mixup(0), ValueError, "Mixup: num_classes: expected an integer of 1 or more, got 0"),
        (lambda: Mixup(4, 0), ValueError, "Mixup: alpha: expected a number above 0, got 0"),
        (lambda: Mixup(4)(IMAGES), TypeError, "Mixup: it mixes the labels as well: give it images and labels"),
        (lambda: Mixup(4)(IMAGES, [0] * 6), ValueError, r"Mixup: labels: expected integers \(6,\) or .* got list"),
        (lambda: Mixup(4)(IMAGES, np.zeros(5, int)), ValueError, r"probabilities \(6, 4\), got int64 \(5,\)"),
        (lambda: Mixup(4)(IMAGES, np.full(6, 4)), ValueError, "labels: expected 0 to 3, got 4; num_classes counts them"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_all_are_exported():
    kinds = {type(t).__name__ for t in EVERY} | {"Mixup", "Transform"}
    assert kinds == set(transforms.__all__)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: mt.nn.Conv2d(3, 2, 3),
        lambda: mt.nn.ConvTranspose2d(3, 2, 3),
        lambda: mt.nn.Linear(9, 2),
        lambda: mt.nn.BatchNorm2d(3),
        lambda: mt.nn.GroupNorm(1, 3),
        lambda: mt.nn.LayerNorm(9),
        lambda: mt.nn.Sequential(mt.nn.MaxPool2d(2), mt.nn.ReLU(), mt.nn.Conv2d(3, 2, 1)),
        lambda: lambda x: mt.nn.mse_loss(x, x),
        lambda: lambda x: mt.saliency.gradient(mt.nn.Conv2d(3, 2, 3), x),
    ],
)
def test_bytes_in_a_network_are_told_the_transform_that_makes_them_fit(layer):
    layer = layer()
    with pytest.raises(TypeError, match=r"uint8.*; images of uint8 .*transforms.ToFloat\(\) .*Normalize\(mean, std\)"):
        layer(mt.Tensor(IMAGES))
    for advised in (transforms.ToFloat(), Normalize(0.5, 0.2)):
        (images,) = next(iter(DataLoader([(image,) for image in IMAGES], 6, transform=advised)))
        for x in (images, mt.Tensor(advised(IMAGES))):
            assert x.dtype == np.float32
            if isinstance(layer, mt.nn.Module):
                assert layer(x).dtype == np.float32
    with pytest.raises(TypeError, match="use .to|images of int"):
        layer(mt.Tensor(IMAGES.astype(np.int64)))


def test_a_mean_on_the_wrong_scale_is_refused_where_bytes_are_counted_from_0_to_1():
    with pytest.raises(ValueError, match="to_input: mean 33.3 is of pixels from 0 to 255; expected that of 0 to 1"):
        mt.data.to_input(np.zeros((2, 3, 3), np.uint8), 33.3, 78.6)
    floats = IMAGES.astype(np.float32)
    np.testing.assert_allclose(Normalize(124, 58)(floats), Normalize(124 / 255, 58 / 255)(IMAGES), rtol=1e-4, atol=1e-5)
