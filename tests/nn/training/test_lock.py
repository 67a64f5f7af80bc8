"""File locks: a second run in a folder is refused, and a lock is released when its process ends."""

import errno
import os
import subprocess
import sys
import threading
import time
import warnings

import pytest
import training
from training import train_in

from microtensor import nn
from microtensor.nn.training import folder_lock as lock

PROGRAM = """
import sys, time
from microtensor import nn
sys.path.insert(0, {tests!r})
from training import train_in

class Wait(nn.Callback):
    def on_step(self, run):
        open({folder!r} + "/started", "w").close()
        time.sleep(60)

train_in({folder!r}, Wait())
"""


class Again(nn.Callback):
    """Trains in the same folder, while that is being done."""

    def __init__(self, folder):
        self.folder, self.error = folder, None

    def on_step(self, outer):
        try:
            train_in(self.folder)
        except OSError as error:
            self.error = error


def test_a_second_fit_of_this_program_is_refused(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    os.symlink(folder, tmp_path / "link", target_is_directory=True)
    for epochs, other in enumerate((folder, tmp_path / "link", folder / ".." / "run"), 1):
        again = Again(other)
        train_in(folder, again, epochs=epochs)
        assert isinstance(again.error, BlockingIOError)
        assert "another fit of this program is training in" in str(again.error)
        assert not (folder / lock.NAME).exists()


def test_a_second_thread_is_refused(tmp_path):
    inside, over = threading.Event(), threading.Event()

    class Hold(nn.Callback):
        def on_step(self, outer):
            inside.set()
            assert over.wait(30)

    thread = threading.Thread(target=lambda: train_in(tmp_path, Hold()))
    thread.start()
    assert inside.wait(30)
    try:
        with pytest.raises(
            BlockingIOError, match="two runs would overwrite each other's checkpoints; wait for its end, or give"
        ):
            train_in(tmp_path)
    finally:
        over.set()
        thread.join()


def test_another_process_is_refused_until_it_is_killed(tmp_path):
    folder = str(tmp_path)
    program = PROGRAM.format(tests=os.path.dirname(training.__file__), folder=folder)
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        try:
            while not (tmp_path / "started").exists():
                assert process.poll() is None
                time.sleep(0.01)
            with pytest.raises(BlockingIOError, match=f"process {process.pid} on .* is training in"):
                train_in(tmp_path)
        finally:
            process.kill()
            process.wait()
    assert (tmp_path / lock.NAME).exists()  # what a killed process leaves behind locks nothing
    assert len(train_in(tmp_path)) == 1
    assert not (tmp_path / lock.NAME).exists()


def test_the_lock_ends_with_an_error_too(tmp_path):
    class Fail(nn.Callback):
        def on_step(self, run):
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train_in(tmp_path, Fail())
    assert not (tmp_path / lock.NAME).exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_that_lives_on_holds_no_lock(tmp_path):
    with lock.locked(tmp_path):
        with warnings.catch_warnings():  # of threads that other tests left: the child does nothing
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            time.sleep(20)
            os._exit(0)
    try:
        with lock.locked(tmp_path):
            pass
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def test_where_there_are_no_locks_it_says_so(tmp_path, monkeypatch):
    if lock.fcntl is None:
        pytest.skip("no fcntl")

    def none(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "lockf", none)
    with pytest.warns(UserWarning, match=r"could not be locked: its file system has no locks \(No locks available\)"):
        assert len(train_in(tmp_path)) == 1
    monkeypatch.setattr(lock, "fcntl", None)  # as in WebAssembly: there is one process
    assert len(train_in(tmp_path / "b")) == 1


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="or a folder above it is a file; give another folder"):
        train_in(tmp_path / "file")
    with pytest.raises(FileExistsError, match="or a folder above it is a file"):
        train_in(tmp_path / "file" / "below")
    with pytest.raises(
        ValueError, match=r"best.npz is named like a file, and a folder is needed, of one run: Checkpoint\('.*best'\)"
    ):
        nn.Checkpoint(tmp_path / "best.npz")
