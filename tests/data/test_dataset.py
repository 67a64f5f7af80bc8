"""Data sets: of arrays, of single samples, parts of others, several in a row."""

import warnings

import numpy as np
import pytest

import microtensor as mt
from microtensor.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset, random_split


def test_tensor_dataset_gives_samples_slices_and_batches():
    x, y = np.arange(12.0).reshape(4, 3), np.array([0, 1, 2, 3], np.uint8)
    dataset = TensorDataset(x, mt.Tensor(y))
    assert len(dataset) == 4
    assert dataset.tensors[0].dtype == np.float64
    assert dataset[1][0].tolist() == [3.0, 4.0, 5.0]
    assert dataset[-1][1].item() == 3
    assert dataset[1:3][1].tolist() == [1, 2]
    for index in ([2, 0], np.array([2, 0]), mt.Tensor(np.array([2, 0])), np.array([2, 0], np.uint8)):
        rows, labels = dataset[index]
        assert rows.tolist() == x[[2, 0]].tolist()
        assert labels.tolist() == [2, 0]
        assert labels.dtype == np.uint8
    assert [int(label) for _, label in dataset] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        ((), TypeError, "at least one"),
        (([1, 2],), TypeError, "got list"),
        ((np.zeros(3), [1, 2, 3]), TypeError, "got list"),
        ((np.zeros((3, 2)), np.zeros(2)), ValueError, r"equal lengths on axis 0, got the shapes \(3, 2\), \(2,\)"),
        ((np.array(1.0),), ValueError, r"got the shapes \(\)"),
    ],
)
def test_tensor_dataset_refuses_what_is_no_data_set(arrays, error, message):
    with pytest.raises(error, match=f"^TensorDataset: .*{message}"):
        TensorDataset(*arrays)


# Single samples


class Pairs(Dataset):
    """Sample i is a vector of i and the number i."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if not isinstance(index, int):
            raise TypeError(f"expected an int, got {type(index)}")
        return np.full(3, index, np.float32), index


class Foreign:
    """A data set that knows nothing of this library, and has a `batch` of another meaning."""

    __len__ = Pairs.__len__
    __getitem__ = Pairs.__getitem__
    __init__ = Pairs.__init__

    def batch(self, batch_size):
        raise NotImplementedError


@pytest.mark.parametrize("dataset", [Pairs(5), Foreign(5), [(np.full(3, i, np.float32), i) for i in range(5)]])
def test_single_samples_are_stacked(dataset):
    batches = list(DataLoader(dataset, batch_size=2))
    assert [(x.shape, y.shape) for x, y in batches] == [((2, 3), (2,)), ((2, 3), (2,)), ((1, 3), (1,))]
    x, y = batches[1]
    assert (x.dtype, y.dtype) == (np.float32, np.int64)
    assert x.tolist() == [[2.0] * 3, [3.0] * 3]
    assert y.tolist() == [2, 3]
    shuffled = DataLoader(dataset, 5, shuffle=True, generator=mt.Generator(1))
    (x, y), *_ = shuffled
    assert y.tolist() == mt.Generator(1).permutation(5).tolist() == x.numpy()[:, 0].tolist()


@pytest.mark.parametrize(
    ("part", "dtype"),
    [
        (1, np.int64),
        (True, np.bool_),
        (0.5, np.float32),
        (np.float64(0.5), np.float64),
        (np.uint8(3), np.uint8),
        (np.zeros(2, np.float16), np.float16),
        (mt.Tensor([1.0], dtype="float64"), np.float64),
    ],
)
def test_dtypes_of_stacked_samples(part, dtype):
    ((x,),) = DataLoader([(part,), [part]], batch_size=2)
    assert x.dtype == dtype
    assert x.shape == (2, *np.shape(part))


def test_a_data_set_of_pytorch_is_read():
    torch = pytest.importorskip("torch")
    inputs, labels = torch.arange(12.0).reshape(4, 3), torch.tensor([0, 1, 0, 1])
    theirs = torch.utils.data.TensorDataset(inputs, labels)
    for (x, y), (x2, y2) in zip(DataLoader(theirs, 3), torch.utils.data.DataLoader(theirs, 3), strict=True):
        np.testing.assert_array_equal(x.numpy(), x2.numpy())
        np.testing.assert_array_equal(y.numpy(), y2.numpy())


@pytest.mark.parametrize(
    ("samples", "error", "message"),
    [
        ([(1,), 2], TypeError, r"sample 1 of list: expected a tuple, such as \(image, label\), got int"),
        ([np.zeros(3), np.zeros(3)], TypeError, "sample 0 of list: expected a tuple, .* got ndarray"),
        ([(), ()], TypeError, "sample 0 of list: expected a tuple"),
        ([(1, 2), (1,)], ValueError, "sample 1 of list has 1 parts, but sample 0 has 2"),
        ([(1, "cat"), (1, "dog")], TypeError, "sample 0 of list: part 1: expected an array, a tensor or a number, got str"),
        ([(1, None)], TypeError, "sample 0 of list: part 1: .* got NoneType"),
        (
            [(np.zeros((3, 4)),), (np.zeros((3, 5)),)],
            ValueError,
            r"sample 1 of list: part 0 is \(3, 5\) on cpu, but that of sample 0 is \(3, 4\) on cpu; give all samples one shape",
        ),
    ],
)
def test_samples_that_make_no_batch_are_refused(samples, error, message):
    with pytest.raises(error, match=f"^DataLoader: {message}"):
        next(iter(DataLoader(samples, batch_size=2)))


def test_a_data_set_without_its_methods_is_refused():
    class Half(Dataset):
        def __len__(self):
            return 1

    with pytest.raises(TypeError, match="__getitem__"):
        Half()


# Parts of data sets, and several in a row

NUMBERS = TensorDataset(np.arange(10) * 10, np.arange(10))


@pytest.mark.parametrize("dataset", [NUMBERS, Pairs(10)])
@pytest.mark.parametrize("kind", [list, tuple, np.array, iter])
def test_a_subset_is_some_samples(dataset, kind):
    subset = Subset(dataset, kind([7, 2, 2, 9]))
    assert len(subset) == 4
    assert [int(y) for _, y in subset] == [7, 2, 2, 9]
    assert int(subset[-1][1]) == 9
    batch = DataLoader(subset, 3)
    assert [y.tolist() for _, y in batch] == [[7, 2, 2], [9]]
    assert subset[np.array([0, 3])][1].tolist() == [7, 9]
    assert [int(y) for _, y in Subset(subset, [3, 0])] == [9, 7]
    with pytest.raises(IndexError):
        subset[4]


@pytest.mark.parametrize(
    ("indices", "error", "message"),
    [
        ([1, 10], IndexError, "expected numbers from 0 to 9, got 10"),
        ([-1], IndexError, "got -1"),
        ([0.5], TypeError, r"expected integers along one axis, got float64 \(1,\)"),
        (np.zeros((2, 2), int), TypeError, r"\(2, 2\)"),
        ([True, False], TypeError, "got bool"),
    ],
)
def test_a_subset_refuses_wrong_indices(indices, error, message):
    with pytest.raises(error, match=f"^Subset: indices: .*{message}"):
        Subset(NUMBERS, indices)


def test_random_split_gives_each_sample_to_one_part():
    parts = random_split(NUMBERS, [6, 3, 1], mt.Generator(0))
    assert [len(part) for part in parts] == [6, 3, 1]
    found = [int(y) for part in parts for _, y in part]
    assert sorted(found) == list(range(10)) != found
    again = random_split(NUMBERS, [0.6, 0.3, 0.1], mt.Generator(0))
    assert [part.indices.tolist() for part in again] == [part.indices.tolist() for part in parts]
    mt.manual_seed(0)
    assert [part.indices.tolist() for part in random_split(NUMBERS, [6, 3, 1])] == [part.indices.tolist() for part in parts]


@pytest.mark.parametrize("n", [1, 7, 10, 64])
@pytest.mark.parametrize("fractions", [(0.5, 0.5), (1 / 3, 1 / 3, 1 / 3), (0.9, 0.05, 0.05), (1.0,)])
def test_lengths_of_fractions_are_those_of_pytorch(n, fractions):
    torch = pytest.importorskip("torch")
    ours = random_split(TensorDataset(np.arange(n)), fractions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of empty parts
        theirs = torch.utils.data.random_split(torch.arange(n), fractions)
    assert [len(part) for part in ours] == [len(part) for part in theirs]


@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        ([6, 3], ValueError, r"add up to 10, or fractions to 1, but \[6, 3\] add up to 9"),
        ([0.5, 0.4], ValueError, "add up to 0.9"),
        ([11, -1], ValueError, r"no negative number, got \[11, -1\]"),
        (["6", 4], TypeError, "integers or fractions"),
    ],
)
def test_random_split_refuses_wrong_lengths(lengths, error, message):
    with pytest.raises(error, match=f"^random_split: lengths: expected .*{message}"):
        random_split(NUMBERS, lengths)
    with pytest.raises(TypeError, match="^random_split: generator: expected a microtensor.Generator or None, got int"):
        random_split(NUMBERS, [10], 3)


def test_data_sets_in_a_row():
    row = ConcatDataset([Subset(NUMBERS, []), NUMBERS, Subset(NUMBERS, [5]), [(np.array(7), 3)]])
    assert len(row) == 12
    assert [int(y) for _, y in row] == [*range(10), 5, 3]
    assert int(row[-1][1]) == 3
    ((x, y),) = DataLoader(row, 12, shuffle=True, generator=mt.Generator(2))
    order = mt.Generator(2).permutation(12)
    assert y.tolist() == [[*range(10), 5, 3][i] for i in order]
    assert x.tolist() == [[*range(0, 100, 10), 50, 7][i] for i in order]
    for wrong in (12, -13):
        with pytest.raises(IndexError, match=f"ConcatDataset: sample {wrong} of 12"):
            row[wrong]


def test_data_sets_in_a_row_must_be_alike():
    with pytest.raises(ValueError, match="ConcatDataset: expected at least one data set"):
        ConcatDataset([])
    row = ConcatDataset([TensorDataset(np.zeros((1, 3))), TensorDataset(np.zeros((1, 4)))])
    with pytest.raises(ValueError, match=r"ConcatDataset: .* are not alike: \(3,\) on cpu, \(4,\) on cpu"):
        next(iter(DataLoader(row, 2)))


def test_tensors_of_other_libraries_are_taken():
    torch = pytest.importorskip("torch")
    dataset = TensorDataset(torch.arange(6.0).reshape(3, 2), torch.tensor([0, 1, 1]))
    (x, y), *_ = DataLoader(dataset, 2)
    assert (x.tolist(), y.tolist(), x.dtype, y.dtype) == ([[0, 1], [2, 3]], [0, 1], np.float32, np.int64)
