import errno
import os
import re
import stat
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from microtensor.io.files import whole_file


def write(path, content=b"new"):
    with whole_file(path) as file:
        file.write(content)


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "file"
    write(path, b"old")
    assert path.read_bytes() == b"old"
    write(str(path))
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_nothing_stands_at_the_path_before_the_end(tmp_path):
    path = tmp_path / "file"
    with whole_file(path) as file:
        file.write(b"new")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_write_leaves_the_old_file_and_no_other(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def interrupted():
        with whole_file(path) as file:
            file.write(b"half")
            raise error("stop")

    with pytest.raises(error, match="stop"):
        interrupted()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, step):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def refuse(*args):
        raise OSError("no space left")

    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(OSError, match="no space left"):
        write(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_the_bytes_are_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    steps = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, original=original: (steps.append(name), original(*args))[1])
    write(tmp_path / "file")
    assert steps == ["fsync", "replace"] + ["fsync"] * (os.name == "posix")  # and so is the name


@pytest.mark.skipif(os.name != "posix", reason="folders are files on POSIX")
@pytest.mark.parametrize(("number", "reported"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_folder_that_cannot_be_synced(tmp_path, monkeypatch, number, reported):
    original = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: refuse(number) if stat.S_ISDIR(os.fstat(fd).st_mode) else original(fd))

    def refuse(number):
        raise OSError(number, "no")

    with pytest.raises(OSError, match="no") if reported else nullcontext():
        write(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_what_a_killed_process_left_behind_goes_after_an_hour(tmp_path):
    program = "import os, sys; from microtensor.io.files import whole_file\nwith whole_file(sys.argv[1]): os._exit(9)"
    assert subprocess.run([sys.executable, "-c", program, tmp_path / "file"], check=False).returncode == 9
    (left,) = os.listdir(tmp_path)
    assert re.fullmatch(r"\.microtensor-.*\.part", left)
    write(tmp_path / "other")
    assert sorted(os.listdir(tmp_path)) == [left, "other"]  # it might still be growing
    for name in (left, ".another.part", "other"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, time.time() - 3700))
    write(tmp_path / "file")
    assert sorted(os.listdir(tmp_path)) == [".another.part", "file", "other"]


def test_a_name_without_folder_is_in_the_current_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("file")
    assert Path("file").read_bytes() == b"new"


def test_the_longest_name_that_the_system_takes(tmp_path):
    path = tmp_path / ("n" * 255)
    write(path)
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize(
    ("step", "number"), [("fsync", errno.ENOSPC), ("replace", errno.EACCES), ("open", errno.EACCES), ("write", errno.ENOSPC)]
)
def test_errors_of_the_system_name_the_file_that_was_asked_for(tmp_path, monkeypatch, step, number):
    path = tmp_path / "weights.npz"

    def refuse(first, *rest, **settings):
        raise OSError(number, os.strerror(number), *([first] if step != "fsync" else []))

    if step in ("fsync", "replace"):
        monkeypatch.setattr(os, step, refuse)
    elif step == "open":
        monkeypatch.setattr("microtensor.io.files.open", refuse, raising=False)

    def save():
        with whole_file(path):
            if step == "write":  # as a full disk does, it names no file
                raise OSError(number, os.strerror(number))

    with pytest.raises(OSError, match=re.escape(f"[Errno {number}] {os.strerror(number)}: {str(path)!r}") + "$") as error:
        save()
    assert ".part" not in str(error.value)
    assert error.value.errno == number
    assert isinstance(error.value, PermissionError) == (number == errno.EACCES)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == []


def test_errors_about_other_files_stay_as_they_are(tmp_path):
    with pytest.raises(FileNotFoundError, match="other"), whole_file(tmp_path / "file"):
        os.unlink(tmp_path / "other")
    with pytest.raises(OSError, match="^no number$"), whole_file(tmp_path / "file"):
        raise OSError("no number")


def test_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"runs does not exist; make it first"):
        write(tmp_path / "runs" / "file")


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="not a regular file"):
        write(tmp_path / "folder")
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.skipif(os.name != "posix", reason="links and modes are POSIX's")
def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write(link)
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


@pytest.mark.skipif(os.name != "posix", reason="links and modes are POSIX's")
def test_others_may_read_it_as_any_new_file(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    write(tmp_path / "file")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder where nobody can make files")
def test_a_refusal_names_the_file_that_was_asked_for(tmp_path, monkeypatch):
    with pytest.raises(OSError, match="'/proc/self/file'"):
        write("/proc/self/file")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(PermissionError, match=f"the folder {tmp_path} may not be written to: '{tmp_path / 'file'}'"):
        write(tmp_path / "file")
