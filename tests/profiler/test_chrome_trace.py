"""The trace of a profile: every span is a bar, as long as it took, on the line of its thread. The clock ticks when looked at."""

import itertools
import json
import threading

import pytest

import microtensor as mt
from microtensor import nn
from microtensor.profiler import spans as measure


@pytest.fixture(autouse=True)
def ticking(monkeypatch):
    monkeypatch.setattr(measure, "now", itertools.count(5_000_000, 1000).__next__)  # a microsecond each


def events(profile, path):
    profile.chrome_trace(path)
    with open(path, encoding="utf-8") as file:
        trace = json.load(file, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    return trace["traceEvents"]


def lines_of(found):
    """The bars of each line, by the names of its group and its thread."""
    groups = {e["pid"]: e["args"]["name"] for e in found if e["name"] == "process_name"}
    names = {(e["pid"], e["tid"]): (groups[e["pid"]], e["args"]["name"]) for e in found if e["name"] == "thread_name"}
    lines = {name: [] for name in names.values()}
    for e in found:
        if e["ph"] == "X":
            lines[names[e["pid"], e["tid"]]].append(e)
    return lines


def measured():
    """A profile of two threads."""
    x, net = mt.ones(4, requires_grad=True), nn.Sequential(nn.ReLU(), nn.Tanh())
    with mt.profile(net) as profile:
        mt.checkpoint(net, x).sum().backward()
        thread = threading.Thread(target=lambda: mt.ones(2).exp(), name="helper")
        thread.start()
        thread.join()
        net(x)
    return profile


def test_every_span_is_a_bar(tmp_path):
    profile = measured()
    lines = {
        name: bars for (group, name), bars in lines_of(events(profile, tmp_path / "trace.json")).items() if group == "host"
    }
    assert set(lines) == {threading.current_thread().name, "helper"}
    for name, bars in lines.items():
        spans = sorted((span for span in profile.spans if span.thread[1] == name), key=lambda span: span.began)
        assert [(e["ts"], e["dur"]) for e in bars] == [
            ((span.began - profile.began) / 1e3, (span.ended - span.began) / 1e3) for span in spans
        ]
        assert [e["name"].removesuffix(" backward") for e in bars] == [span.name for span in spans]
        assert [e["args"]["bytes"] for e in bars] == [span.bytes for span in spans]
    names = [e["name"] for e in lines[threading.current_thread().name]]
    assert names[:4] == ["relu", "tanh", "sum", "backward pass"]
    assert names[-2:] == ["relu", "tanh"]
    assert {"sum backward", "checkpoint backward", "tanh backward", "relu backward"} <= set(names)
    last = lines[threading.current_thread().name][-1]
    assert (last["cat"], last["args"]) == ("forward", {"bytes": 32, "FLOPs": 0, "layer": "1"})


def test_bars_of_a_line_lie_inside_each_other_or_apart(tmp_path):
    for bars in lines_of(events(measured(), tmp_path / "trace.json")).values():
        around = []
        for e in bars:
            while around and around[-1] <= e["ts"]:
                around.pop()
            end = round(e["ts"] + e["dur"], 3)
            assert not around or end <= around[-1]
            around.append(end)


def test_what_lies_around_is_first_also_where_the_clock_sees_no_difference(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "now", lambda: 0)
    x = mt.ones(2, requires_grad=True)
    with mt.profile() as profile:
        x.sum().backward()
    lines = lines_of(events(profile, tmp_path / "trace.json"))
    names = [e["name"] for e in lines["host", threading.current_thread().name] if e["cat"] == "backward"]
    assert names[:2] == ["backward pass", "sum backward"]
    assert {"broadcast_to", "reshape"} == set(names[2:])


@pytest.mark.skipif(mt.get_default_device() == "cpu", reason="about devices: --device strict or cuda")
def test_a_device_has_lines_of_its_own(tmp_path):
    with mt.profile() as profile:
        mt.ones(3).exp().sin()
    lines = lines_of(events(profile, tmp_path / "trace.json"))
    name = threading.current_thread().name
    assert set(lines) == {("host", name), ("cuda:0", name)}
    assert [[e["name"] for e in bars] for bars in lines.values()] == [["exp", "sin"]] * 2
