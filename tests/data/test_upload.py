"""Batches on their way to a GPU: the same numbers, one ahead, and nobody waits; and a stand-in that finds who should have."""

import gc
import sys
from itertools import pairwise

import numpy as np
import pytest
import strict
from data_files import Noise
from hypothesis import given
from hypothesis import strategies as st
from strict import streams

import microtensor as mt
from microtensor import Tensor
from microtensor.data import DataLoader, TensorDataset, mnist_sample
from microtensor.data.dataset import Dataset
from microtensor.data.upload import Upload, uploaded


@pytest.fixture(autouse=True)
def device(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    yield strict.cupy
    strict.cupy.cuda.Device(0).use()
    strict.cupy.cuda.Device(0).synchronize()  # what went wrong unseen is raised here
    gc.collect()
    streams.raise_faults()


class Pairs(Dataset):
    """Images of bytes, numbers of two dtypes, and an array without numbers, all NumPy's."""

    def __init__(self, n):
        rng = np.random.default_rng(n)
        self.parts = (
            rng.integers(0, 256, (n, 3, 5)).astype(np.uint8),
            rng.standard_normal(n),
            np.arange(n),
            np.zeros((n, 0), "f"),
        )

    def __len__(self):
        return len(self.parts[0])

    def __getitem__(self, index):
        return tuple(part[index] for part in self.parts)

    def batch(self, indices):
        return self[indices]


@given(
    n=st.integers(0, 20),
    size=st.integers(1, 8),
    workers=st.integers(0, 2),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    seed=st.integers(0, 9),
)
def test_no_bit_changes(n, size, workers, shuffle, drop_last, seed):
    def batches(**settings):
        loader = DataLoader(Pairs(n), size, shuffle, mt.Generator(seed), drop_last, num_workers=workers, **settings)
        return [batch for _ in range(2) for batch in loader]

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", strict.cupy)
        here, there = batches(device="cpu"), batches(device="cuda", pin_memory=True)
        assert len(here) == len(there)
        for ours, theirs in zip(there, here):
            for x, y in zip(ours, theirs):
                assert (x.device, x.dtype, x.shape) == ("cuda:0", y.dtype, y.shape)
                np.testing.assert_array_equal(x.numpy(), y.numpy())


def test_a_batch_sets_out_while_the_one_before_is_in_use_and_nobody_waits():
    loader = DataLoader(Pairs(12), 3, device="cuda")
    assert repr(loader) == "DataLoader(Pairs(12 samples), batch_size=3, device='cuda:0')"
    total = mt.zeros(5, device="cuda")
    with strict.counting() as counts:
        for i, (images, *_) in enumerate(loader, start=1):
            assert counts.names["set"] == min(i + 1, 4)
            assert loader.position == i
            total = total + images.float().sum((0, 1))
    assert counts.copies == 4  # one for each batch, whatever is in it
    assert counts.waits == 0
    np.testing.assert_array_equal(total.numpy(), Pairs(12).parts[0].astype("f").sum((0, 1)))


def test_batches_may_be_kept_and_grow():
    class Growing(Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, index):
            raise NotImplementedError

        def batch(self, indices):
            return (np.full((1, 10 + 1000 * int(indices[0])), indices[0]),)

    kept = [x for (x,) in DataLoader(Growing(), 1, device="cuda")]
    for i, x in enumerate(kept):
        assert x.shape == (1, 10 + 1000 * i)
        assert (x.numpy() == i).all()


def test_an_error_comes_in_its_turn():
    def broken(x):
        if (x == 6).any():
            raise ZeroDivisionError("at 6")
        return x

    loader = DataLoader([(i,) for i in range(10)], 2, transform=broken, device="cuda")
    batches = iter(loader)
    assert [next(batches)[0].tolist() for _ in range(3)] == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(ZeroDivisionError, match="at 6"):
        next(batches)
    assert loader.position == 3


def test_ctrl_c_while_the_next_batch_is_prepared():
    def interrupted(x):
        if (x == 4).any():
            raise KeyboardInterrupt
        return x

    batches = iter(DataLoader([(i,) for i in range(10)], 2, transform=interrupted, device="cuda"))
    assert next(batches)[0].tolist() == [0, 1]
    with pytest.raises(KeyboardInterrupt):
        next(batches)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pass_goes_on_where_it_was_left(workers):
    def loader():
        return DataLoader(Pairs(20), 3, True, mt.Generator(1), transform=Noise(), num_workers=workers, device="cuda")

    whole, left = [x.tolist() for x, *_ in loader()], loader()
    for i, _ in enumerate(left, start=1):
        if i == 3:
            break
    again = loader()
    again.load_state_dict(left.state_dict())
    assert [x.tolist() for x, *_ in again] == whole[3:]


def test_tensors_go_to_a_device_that_is_named_and_stay_otherwise():
    data = TensorDataset(Tensor(np.arange(4.0), device="cpu"), Tensor(np.arange(4), device="cuda"))
    assert [[x.device for x in batch] for batch in DataLoader(data, 4, device="cuda")] == [["cuda:0", "cuda:0"]]
    assert [[x.device for x in batch] for batch in DataLoader(data, 4, device="cpu")] == [["cpu", "cpu"]]
    with mt.default_device("cuda"):
        assert [[x.device for x in batch] for batch in DataLoader(data, 4)] == [["cpu", "cuda:0"]]


def test_fit_lets_the_batches_of_a_loader_set_out_ahead():
    """With the model on a GPU; and what it learns is what it learns without."""

    inputs = np.random.default_rng(0).standard_normal((12, 5)).astype("f")

    def learned(ahead):
        model = mt.nn.Linear(5, 2).to("cuda")
        model.load_state_dict({"weight": mt.ones(2, 5), "bias": mt.zeros(2)})
        loader = DataLoader([(x, i % 2) for i, x in enumerate(inputs)], 4, True, mt.Generator(0), transform=lambda x: 2 * x)
        batches = loader if ahead else [*loader]
        with strict.counting() as counts:
            mt.nn.fit(model, batches, mt.nn.CrossEntropyLoss(), mt.nn.SGD(model.parameters(), lr=0.1), progress=False)
        return counts.names["set"], model.weight.tolist()

    (sent, weight), (not_sent, expected) = learned(True), learned(False)
    assert (sent, not_sent) == (3, 0)
    assert weight == expected


def test_data_sets_of_images_stay_on_the_cpu_and_batches_go_to_the_default_device():
    with mt.default_device("cuda"):
        digits = mnist_sample(train=False)
        assert type(digits.images) is type(digits[0][0]) is np.ndarray
        with strict.counting() as counts:
            images, labels = next(iter(DataLoader(digits, 5)))
        assert images.device == labels.device == "cuda:0"
        assert counts.waits == 0
    assert next(iter(DataLoader(digits, 5)))[0].device == mt.get_default_device()


def test_a_second_gpu(monkeypatch):
    cupy = strict.Cupy(2)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    for x, *_ in DataLoader(Pairs(6), 2, device="cuda:1"):
        assert x.device == "cuda:1"
        assert (x + 1).device == "cuda:1"
        assert cupy.cuda.runtime.getDevice() == 1


def test_what_is_no_device_is_refused():
    with pytest.raises(ValueError, match='expected "cpu", "cuda" or "cuda:N", got \'gpu\''):
        DataLoader(Pairs(3), device="gpu")
    with pytest.raises(RuntimeError, match='device "cuda:7": there is no such GPU'):
        DataLoader(Pairs(3), device="cuda:7")
    with pytest.raises(TypeError, match="DataLoader: pin_memory: expected True or False, got int"):
        DataLoader(Pairs(3), pin_memory=1)


# Planted faults: each is what a GPU would not report


def numbers(count):
    return ((np.full(1000, i, "f"),) for i in range(count))


def run_through(count=6):
    """A pass whose batches are used, and then what a GPU would have got wrong unseen."""
    for (x,) in uploaded(numbers(count), "cuda:0"):
        x += 1
    del x
    gc.collect()
    strict.cupy.cuda.Device(0).synchronize()
    streams.raise_faults()


def test_a_pass_has_no_fault():
    run_through()


def test_not_waiting_for_the_copy_is_found(monkeypatch):
    monkeypatch.setattr(strict.cupy.cuda.Stream.null, "wait_event", lambda event: None, raising=False)
    with pytest.raises(strict.Refused, match="another stream works on this memory"):
        run_through()


def test_not_waiting_until_the_room_is_free_is_found(monkeypatch):
    upload = Upload("cuda:0")
    monkeypatch.setattr(upload._copy_stream.stream, "wait_event", lambda event: None, raising=False)
    with pytest.raises(strict.Refused, match="another stream works on this memory"):
        run_through()
    streams.faults.clear()


def test_dropping_pinned_memory_too_soon_is_found(monkeypatch):
    monkeypatch.setattr(Upload("cuda:0")._copy_stream, "keep", lambda pinned, copied: None)
    with pytest.raises(strict.Refused, match="pinned memory was dropped while a copy from it may be under way"):
        run_through()


def test_using_pinned_memory_again_too_soon_is_found(monkeypatch):
    memory = strict.cupy.cuda.alloc_pinned_memory(4096)
    monkeypatch.setattr(strict.cupy.cuda, "alloc_pinned_memory", lambda size: memory, raising=False)
    with pytest.raises(strict.Refused, match="pinned memory was written to while a copy from it may have been under way"):
        run_through()


def test_dropping_a_room_too_soon_is_found(monkeypatch):
    monkeypatch.setattr(Upload, "close", lambda self: None)
    with pytest.raises(strict.Refused, match="memory was dropped, for others of its stream to take"):
        run_through()


def test_memory_that_is_not_pinned_is_refused(monkeypatch):
    monkeypatch.setattr(strict.cupy.cuda, "alloc_pinned_memory", bytearray, raising=False)
    with pytest.raises(strict.Refused, match="a copy on a stream from memory that is not pinned"):
        run_through()


def test_buffers_are_taken_in_turn():
    upload = Upload("cuda:0")
    buffers = []
    for batch in numbers(4):
        pending = upload.begin(batch)
        buffers.append(pending.buffer)
        upload.finish(pending)
    upload.close()
    assert all(x is not y for x, y in pairwise(buffers))
    assert len({id(buffer) for buffer in buffers}) == 2
