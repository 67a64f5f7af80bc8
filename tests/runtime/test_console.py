"""What is printed, by commands and by a user, in encodings that lack its characters."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest

import microtensor as mt
from microtensor import data, models, nn
from microtensor.commands import cli
from microtensor.runtime.console import EQUIVALENTS, fitting
from microtensor.runtime.text import table

ENCODINGS = ["ascii", "latin-1", "cp1252", "cp437", "cp1251", "shift_jis", "cp037", "utf-16", "utf-8"]


every_encoding = pytest.mark.parametrize("encoding", ENCODINGS)


def stream_of(encoding):
    """As strict as that for redirected output."""
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict", newline="\n")


def printed(stream):
    stream.flush()
    text = stream.buffer.getvalue().decode(stream.encoding)
    stream.buffer.seek(0)
    stream.buffer.truncate()
    return text


COMMANDS = [
    ["models", "lenet5", "vgg11", "resnext50_32x4d"],
    ["summary", "lenet5"],
    ["receptive-field", "lenet5"],
    ["receptive-field", "lenet5", "--layer", "features.3"],
    ["trace", "maxpool"],
    ["trace", "maxpool", "--gradient", "-1 -2 -3; 1 2 3; 4 5 6"],
    *([name, "--help"] for name in ("models", "summary", "receptive-field", "trace", "demo", "predict", "saliency")),
    ["--help"],
]


@every_encoding
def test_every_command_prints_in_every_encoding(encoding, monkeypatch):
    stream = stream_of(encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    pytest.importorskip("matplotlib")
    for command in COMMANDS:
        if "--help" in command:
            with pytest.raises(SystemExit, match="0"):
                cli.main(command)
        else:
            assert cli.main(command) == 0
        assert len(printed(stream)) > 100, command
    assert stream.errors == "strict"  # as it was


@every_encoding
def test_a_command_prints_what_a_file_is_called(encoding, monkeypatch, tmp_path):
    stream = stream_of(encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["trace", "maxpool", "--out", "größe → 猫.svg"]) == 0
    assert (tmp_path / "größe → 猫.svg").is_file()
    last = printed(stream).splitlines()[-1]
    assert last == ("wrote größe → 猫.svg" if stream.encoding.startswith("utf") else last)
    assert last.startswith("wrote gr")
    assert last.endswith(".svg")
    monkeypatch.setattr(sys, "stderr", stream_of(encoding))
    assert cli.main(["trace", "maxpool", "--out", "×/猫.svg"]) == 1
    assert "cannot write" in printed(sys.stderr)


def objects():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(18, 2))
    x = mt.Tensor(np.ones((2, 1, 5, 5), np.float32))
    with mt.profile(model) as profile, mt.trace_backward(model) as trace:
        model(x).sum().backward()
    return [
        nn.summary(model, (1, 5, 5)),
        nn.summary(model, (1, 5, 5)).rows[1],
        nn.receptive_field(model, (1, 5, 5)),
        nn.receptive_field(model, (1, 5, 5)).rows[1],
        nn.trace_max_pool([[2, 4, 8], [9, 3, 4]], 2, stride=1, gradient=[[-5, 6]]),
        nn.History([{"epoch": 1, "größe → ×": 0.5}]),
        models.table("vgg11", "conv_vae"),
        models.table("vgg11")[0],
        models.catalogue.card("conv_vae"),
        profile,
        profile.table(),
        trace,
        trace[0],
        mt.draw_graph((mt.Tensor([1.0], requires_grad=True) * 2).sum(), "mermaid"),
        table(["größe", "2²"], [["→ 猫", "−1"], ["a", "±0 µs"]]),
        model,
        x,
        data.transforms.Compose([data.transforms.Normalize(0.5, 0.5)]),
        data.DataLoader(data.TensorDataset(np.arange(3))),
    ]


@every_encoding
def test_every_object_prints_in_every_encoding(encoding, monkeypatch):
    stream = stream_of(encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    for thing in objects():
        print(thing)
        print([thing], f"{thing}", f"{thing!r}")
        assert printed(stream), type(thing)


def test_where_all_can_be_printed_all_is_printed(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    text = "".join(map(str, objects()))
    assert all(character in text for character in "×·─├└−→µ猫±²")
    monkeypatch.setattr(sys, "stdout", io.StringIO())  # it has no encoding, and takes all
    assert str(table(["a"], [["×"]])) == "a\n─\n×"
    monkeypatch.setattr(sys, "stdout", None)  # pythonw
    assert str(table(["a"], [["×"]])) == "a\n─\n×"


def test_columns_stay_columns(monkeypatch):
    rows = [["→ 猫", "−1"], ["a", "±0 µs"]]
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    lines = ["grosse        2^2", "-" * 17, "-> \\u732b      -1", "a          +-0 us"]
    assert table(["größe", "2²"], rows).splitlines() == lines
    tree = str(nn.summary(models.lenet5(), (1, 28, 28))).splitlines()
    assert {len(line) for line in tree if set(line) == {"-"}} == {max(len(line) for line in tree[2:20])}


@pytest.mark.parametrize("character", EQUIVALENTS)
def test_every_equivalent_is_ascii_and_is_used(character):
    assert EQUIVALENTS[character].isascii()
    assert fitting(f"a{character}b", "ascii") == f"a{EQUIVALENTS[character]}b"
    assert fitting(f"a{character}b", "utf-8") == f"a{character}b"


def test_what_has_no_equivalent_stays_readable():
    assert fitting("Dollár, ﬁ, 猫, \udc80", "ascii") == "Dollar, fi, \\u732b, \\udc80"
    assert fitting("a\udc80", "utf-8") == "a\\udc80"  # a file name that is no text
    assert fitting("×", "no such encoding") == "×"


def test_whatever_the_library_prints_has_an_equivalent():
    """Nobody is to read escapes."""
    found = {c for thing in objects() for c in str(thing) if not c.isascii() and c != "猫"}
    assert {"×", "─", "−", "µ"} <= found
    assert not any("\\" in fitting(c, "ascii") for c in found)


@pytest.mark.parametrize(
    "settings",
    [
        {"PYTHONIOENCODING": "cp1252"},
        {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"},
        {"PYTHONIOENCODING": "ascii:strict"},
    ],
)
def test_a_program_and_a_command_whose_output_goes_to_a_file(tmp_path, settings):
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONIOENCODING", "PYTHONUTF8")} | settings
    program = (
        "import sys; from microtensor import nn; from microtensor.commands import cli; print(nn.History([{'epoch': 1, 'loss': 0.5}])); "
        "print(nn.trace_max_pool([[2, 4], [9, 3]], 2)); sys.exit(cli.main(['summary', 'lenet5']))"
    )
    with open(tmp_path / "out", "wb") as out:
        ran = subprocess.run([sys.executable, "-c", program], stdout=out, stderr=subprocess.PIPE, env=environment, timeout=100)
    assert (ran.returncode, ran.stderr) == (0, b"")
    text = (tmp_path / "out").read_bytes().decode("cp1252")
    assert all(part in text for part in ("epoch  loss", "| | 0 Conv2d", "61,706"))


@every_encoding
def test_what_a_run_says_is_printed(encoding, monkeypatch):
    stream = stream_of(encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    model = nn.Linear(2, 2)
    loader = data.DataLoader(data.TensorDataset(np.ones((4, 2), np.float32), np.zeros(4, np.int64)), 2)

    def größe(outputs, labels):
        return 0.5

    nn.fit(model, loader, nn.CrossEntropyLoss(), nn.SGD(model.parameters(), lr=0.1), epochs=1, metrics={"größe → ×": größe})
    assert "epoch 1/1" in printed(stream)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_and_a_reader_that_leaves_are_no_tracebacks():
    command = [sys.executable, "-m", "microtensor", "summary", "lenet5"]
    with open("/dev/full", "wb") as full:
        ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=100)
    assert ran.returncode == 1
    assert ran.stderr.startswith(b"microtensor: ")
    assert ran.stderr.endswith(b"[Errno 28] No space left on device\n")
    assert ran.stderr.count(b"\n") == 1
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as pipe:
        ran = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, timeout=100)
    assert (ran.returncode, ran.stderr) == (1, b"")
