"""What comes in as lists and arrays: bounded in time, whatever it holds; and nothing of it is lost in silence."""

import collections
import operator
import time

import numpy as np
import pytest

import microtensor as mt
from microtensor import nn
from microtensor.autograd import nested
from microtensor.autograd.nested import array_of_lists


def holding_itself(kind):
    a = []
    if kind == "alone":
        a.append(a)
    elif kind == "twice":
        a += [a, a]
    elif kind == "behind a number":
        a += [1.0, a]
    elif kind == "behind a row":
        a += [[1.0, 2.0], a]
    elif kind == "by another":
        a += [[a], [a]]
    elif kind == "by a tuple":
        a.append((a,))
    elif kind == "deep":
        for _ in range(100_000):
            a = [a]
    return a


KINDS = ["alone", "twice", "behind a number", "behind a row", "by another", "by a tuple", "deep"]
DOORS = [
    mt.Tensor,
    mt.tensor,
    mt.as_tensor,
    nn.Parameter,
    lambda a: mt.full((2,), a),
    lambda a: mt.ones(3)[a],
    lambda a: mt.ones(3).__setitem__(0, a),
    lambda a: mt.ones(3).gather(0, a),
    lambda a: mt.ones(3).take(a),
    lambda a: nn.embedding(a, mt.ones(3, 2)),
    lambda a: nn.cross_entropy(mt.ones(1, 2), a),
    lambda a: nn.mse_loss(mt.ones(3), a),
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_that_holds_itself_is_refused_at_once(kind):
    a = holding_itself(kind)
    for door in DOORS:
        began = time.monotonic()
        with pytest.raises((ValueError, TypeError), match=r"nested more than 64 deep|nested lists of integers"):
            door(a)
        assert time.monotonic() - began < 5


def test_lists_that_name_each_other_again_and_again_are_refused():
    bomb = [1.0] * 10
    for _ in range(30):
        bomb = [bomb] * 10
    with pytest.raises(ValueError, match=r"Tensor: written out, the nested lists are 1(0|,)+ numbers"):
        mt.Tensor(bomb)
    assert mt.Tensor([[1.0] * 1000] * 1000).shape == (1000, 1000)  # as one writes it


def test_sixty_four_axes_and_no_more():
    nested = 1.0
    for _ in range(64):
        nested = [nested]
    assert array_of_lists("test", nested).ndim == 64
    with pytest.raises(ValueError, match="more than 64 deep"):
        array_of_lists("test", [nested])


class Sequence:
    def __init__(self, length, item):
        self.length, self.item = length, item

    def __len__(self):
        return self.length

    def __getitem__(self, i):  # never an IndexError
        return self.item


def test_a_sequence_is_as_long_as_it_says():
    assert mt.Tensor(Sequence(3, 2.0)).tolist() == [2.0, 2.0, 2.0]
    assert mt.Tensor([Sequence(2, 1.0), [3, 4]]).tolist() == [[1.0, 1.0], [3.0, 4.0]]
    assert mt.tensor(collections.deque([1, 2])).tolist() == [1, 2]
    assert mt.tensor(range(3)).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="Sequence has 1,000,000,000,000 items; give it as an array"):
        mt.Tensor(Sequence(10**12, 1.0))
    endless = Sequence(2, None)
    endless.item = endless
    with pytest.raises(ValueError, match="more than 64 deep"):
        mt.Tensor(endless)


@pytest.mark.parametrize(
    "strange", [{"a": 1}, {1, 2}, (i for i in range(10**18)), object(), "abc", None, [None], [1j], [2**70]]
)
def test_what_is_no_number_is_refused_in_words(strange):
    with pytest.raises(TypeError, match="Tensor: expected numbers of 64 bits at most"):
        mt.Tensor(strange)


def test_an_array_method_that_gives_no_array_is_told_so():
    class Strange:
        def __array__(self, dtype=None, copy=None):
            return 5

    with pytest.raises(ValueError, match="Tensor: Strange cannot be read as an array: .*not producing an array"):
        mt.Tensor(Strange())


def test_lists_become_what_numpy_makes_of_them():
    for lists in (
        [],
        [[], []],
        [1, 2.5],
        [True, False],
        [[1, 2], (3, 4)],
        [np.float64(1), 2],
        [np.ones(2), [3, 4]],
        3,
        2.5,
        True,
    ):
        expected = np.asarray(lists)
        found = array_of_lists("test", lists)
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(found, expected)


# Arrays


MASKED = np.ma.array([1.0, 2.0, 3.0], mask=[False, True, False])
WHOLE = np.ma.array([0, 1, 2], mask=[False, True, False])
MASKED_DOORS = {
    "Tensor": lambda: mt.Tensor(MASKED),
    "tensor": lambda: mt.tensor(MASKED),
    "as_tensor": lambda: mt.as_tensor(MASKED),
    "from_numpy": lambda: mt.from_numpy(MASKED),
    "from_dlpack": lambda: mt.from_dlpack(MASKED),
    "list": lambda: mt.Tensor([MASKED, MASKED]),
    "one masked": lambda: mt.Tensor([1.0, np.ma.masked]),
    "Parameter": lambda: nn.Parameter(MASKED),
    "x + array": lambda: mt.ones(3) + MASKED,
    "array + x": lambda: MASKED + mt.ones(3),
    "np.add": lambda: np.add(MASKED, mt.ones(3)),
    "setitem": lambda: mt.ones(3).__setitem__(slice(None), MASKED),
    "index": lambda: mt.ones(3)[WHOLE],
    "gather": lambda: mt.ones(3).gather(0, WHOLE),
    "where": lambda: mt.where(MASKED > 0, mt.ones(3), mt.zeros(3)),
    "embedding": lambda: nn.embedding(WHOLE, mt.ones(3, 2)),
    "cross_entropy": lambda: nn.cross_entropy(mt.ones(3, 3), WHOLE),
    "mse_loss": lambda: nn.mse_loss(mt.ones(3), MASKED),
    "linear": lambda: nn.linear(mt.ones(1, 3, dtype="float64"), MASKED[None]),
    "TensorDataset": lambda: mt.data.TensorDataset(MASKED),
    "DataLoader": lambda: next(iter(mt.data.DataLoader([(MASKED, 1)], batch_size=1))),
    "x.data": lambda: setattr(mt.ones(3), "data", MASKED),
    "save": lambda: mt.save("masked.npz", {"a": MASKED}),
    "load_state_dict": lambda: nn.Linear(3, 1, bias=False).load_state_dict({"weight": MASKED[None]}),
    "zeros_like": lambda: mt.zeros_like(MASKED),
}


@pytest.mark.parametrize("door", MASKED_DOORS)
def test_a_masked_array_is_refused_wherever_arrays_come_in(door, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        TypeError, match=r"a masked array of shape .* would lose its mask: fill in a number, array\.filled\(0\)"
    ):
        MASKED_DOORS[door]()
    mt.Tensor(MASKED.filled(0))  # as the message says


WIDE = [np.ones(2, np.clongdouble), np.ones(2, complex), np.array([1, None]), np.array(["2020", "2021"], "M8[Y]")]
WIDE += [np.zeros(2, "i4,f4"), np.array(["a", "b"])]
WIDE += [np.ones(2, np.longdouble)] if np.dtype(np.longdouble).itemsize > 8 else []


@pytest.mark.parametrize("array", WIDE, ids=lambda array: str(array.dtype))
def test_arrays_of_what_tensors_do_not_hold_are_refused_wherever_they_come_in(array):
    x = mt.ones(2, device="cpu")
    doors = [mt.Tensor, mt.tensor, mt.from_numpy, lambda a: x + a, lambda a: a * x, lambda a: setattr(x, "data", a)]
    for door in doors:
        with pytest.raises(TypeError, match=r"numbers of 64 bits at most"):
            door(array)
    for door in (lambda d: x.to(d), lambda d: mt.zeros(2, dtype=d), lambda d: mt.Tensor([1.0], dtype=d)):
        with pytest.raises(TypeError, match="a tensor holds floating-point numbers, integers or bools, not"):
            door(array.dtype)


def test_a_matrix_is_refused_beside_a_tensor_and_taken_as_one():
    matrix = np.array([[1.0, 2.0], [3.0, 4.0]]).view(np.matrix)
    x = mt.ones(2, 2, device="cpu")
    for compute in (operator.mul, operator.add):
        for operands in ((matrix, x), (x, matrix)):
            with pytest.raises(TypeError, match=r"a numpy\.matrix multiplies by a rule of its own; take np\.asarray\(matrix\)"):
                compute(*operands)
    assert mt.Tensor(matrix).shape == (2, 2)


def test_a_memory_map_is_an_array_like_others(tmp_path):
    mapped = np.memmap(tmp_path / "numbers", np.float32, "w+", shape=(3,))
    mapped[:] = 2
    x = mt.ones(3, device="cpu")
    assert (x + mapped).tolist() == [3.0, 3.0, 3.0]
    x.array = mapped
    assert type(x.array) is np.ndarray
    assert (x + 1).tolist() == [3.0, 3.0, 3.0]


# Time


@pytest.mark.parametrize(
    "lists",
    [
        [np.float32(i) for i in range(3)],
        [[np.float64(1), 2.0], [np.float64(3), 4]],
        [np.ones(2, np.float32), np.zeros(2, np.float32)],
        [[np.ones((2, 2)), np.zeros((2, 2))], [np.ones((2, 2))] * 2],
        [[1.0, 2], (3, True)],
        [[[1.0, 2.0]], [[3.0, 4.0]]],
        [[1.0, 2.0]] * 3,
    ],
)
def test_lists_are_read_as_numpy_reads_them(lists):
    found = array_of_lists("example", lists)
    np.testing.assert_array_equal(found, np.asarray(lists))
    assert found.dtype == np.asarray(lists).dtype


@pytest.mark.parametrize("items", [[np.float32(1)] * 1000, [np.ones(8)] * 1000, [[i, i + 1.0] for i in range(1000)]])
def test_items_of_one_kind_are_not_visited_one_by_one(items, monkeypatch):
    """A list of a thousand losses took a hundred times as long as NumPy takes for it."""
    visits = []
    visit = nested._Walk.visit
    monkeypatch.setattr(nested._Walk, "visit", lambda *args: visits.append(1) or visit(*args))
    assert array_of_lists("example", items).shape[0] == 1000
    assert len(visits) < 10


def test_rows_among_which_a_list_holds_itself_or_a_mask_are_looked_at():
    own: list = [1.0]
    own.append(own)
    for lists in ([own], [[1.0, 2.0], own], [own, own]):
        with pytest.raises(ValueError, match="one of them holds itself"):
            mt.Tensor(lists)
    for lists in ([(1.0, 2.0), (np.ma.masked, 2.0)], [np.ones(3), MASKED], [[np.ones(3)], [MASKED]]):
        with pytest.raises(TypeError, match="would lose its mask"):
            mt.Tensor(lists)
