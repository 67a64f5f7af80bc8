import doctest
import os
import sys

import numpy as np
import pytest
import strict
from trees import TENSORS, assert_same

import microtensor as mt
from microtensor.io import state


def test_a_leaf_comes_back_as_plain_numbers(tmp_path):
    x = mt.Tensor([1.0], requires_grad=True)
    x.grad = mt.Tensor([2.0])
    state.save(tmp_path / "leaf.npz", {"x": x, "y": x * 2})
    found = state.load(tmp_path / "leaf.npz")
    assert [t.requires_grad for t in found.values()] == [False, False]
    assert found["x"].grad is None


def test_from_a_device(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    x = mt.Tensor([1.0, 2.0], device="cuda")
    state.save(tmp_path / "device.npz", {"x": x})
    found = state.load(tmp_path / "device.npz")["x"]
    assert found.device == "cpu"
    assert found.tolist() == [1.0, 2.0]


# Errors in words


@pytest.mark.parametrize("suffix", ["", ".bin", ".npy", ".npz.bak"])
def test_unknown_suffixes(tmp_path, suffix):
    supported = r"supported: \.npz, \.safetensors, \.pth, \.pt"
    with pytest.raises(ValueError, match=rf"save: .* has the suffix .*; {supported}"):
        state.save(tmp_path / f"weights{suffix}", TENSORS)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_pickles_are_not_written(tmp_path, suffix):
    with pytest.raises(
        ValueError, match=r"PyTorch's pickle files can be read, but not written; save as .safetensors, which PyTorch reads"
    ):
        state.save(tmp_path / f"weights{suffix}", TENSORS)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("tree", [TENSORS, mt.Tensor([1.0]), [mt.Tensor([1.0])], 3, None])
def test_arguments_in_the_wrong_order(tmp_path, tree):
    with pytest.raises(TypeError, match=r"save: the path comes first: save\(path, tensors\), got"):
        state.save(tree, tmp_path / "weights.npz")
    with pytest.raises(TypeError, match=r"load: .*: load\(path\), got"):
        state.load(tree)


def test_a_training_goes_on_from_a_file(tmp_path):
    from microtensor import nn

    def steps(model, optimizer, count):
        for _ in range(count):
            optimizer.zero_grad()
            (model(mt.Tensor([[1.0, -1.0]])) ** 2).sum().backward()
            optimizer.step()

    def fresh():
        model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
        return model, nn.Adam(model.parameters(), lr=0.1, betas=(0.8, 0.9))

    model, optimizer = fresh()
    steps(model, optimizer, 3)
    state.save(tmp_path / "run.npz", {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3})
    steps(model, optimizer, 3)

    found = state.load(tmp_path / "run.npz")
    resumed, its_optimizer = fresh()
    resumed.load_state_dict(found["model"])
    its_optimizer.load_state_dict(found["optimizer"])
    steps(resumed, its_optimizer, 3)
    assert found["epoch"] == 3
    assert_same(resumed.state_dict(), model.state_dict())
    assert_same(its_optimizer.state_dict(), optimizer.state_dict())


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="the folder .* does not exist; make it first"):
        state.save(tmp_path / "runs" / "a.npz", TENSORS)
    with pytest.raises(FileNotFoundError):
        state.load(tmp_path / "a.npz")


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "old.npz"
    state.save(path, TENSORS)
    monkeypatch.setattr(np.lib.format, "write_array", lambda *args, **settings: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space left"):
        state.save(path, {"x": mt.Tensor([1.0])})
    assert os.listdir(tmp_path) == ["old.npz"]
    assert_same(state.load(path), TENSORS)


def test_examples():
    result = doctest.testmod(state)
    assert result.attempted
    assert not result.failed
