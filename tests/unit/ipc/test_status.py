import json
import os
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tccap.ipc import status
from tccap.ipc.status import Event, Log, Output, Ready, Timing

EVENTS: list[Event] = [
    Ready(),
    Timing("load", 0.5),
    Log("warning", "two words"),
    status.Error("No."),
    status.Lost(7),
    status.End(9, 8, 7, 6, False, 5, 4, 3),
    status.TlsReady(),
    status.TlsProbes("/lib/a", 2),
    status.TlsDetached("/lib/a", 2),
    status.TlsCounts({"secrets": 3, "median_wait_s": 0.25}),
]
BAD = [
    {"event": "of the future"},
    {"event": "timing", "step": "load"},
    {"event": "timing", "step": "load", "seconds": "0.5"},
    {"event": "timing", "step": 3, "seconds": 0.5},
    {"event": "lost", "packets": True},
    {"event": "lost", "packets": 1.0},
    {"event": "log", "level": "fatal", "message": "x"},
    {"event": "log", "level": ["info"], "message": "x"},
    {"event": "error", "message": None},
    {"event": "tls_counts", "counts": [1]},
    {"event": "tls_counts", "counts": {"secrets": "1"}},
    {"event": "tls_counts", "counts": {"secrets": True}},
]
JSON_VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


@pytest.mark.parametrize("event", EVENTS, ids=status.name)
def test_an_event_is_read_as_it_was_reported(
    capfd: pytest.CaptureFixture[str], event: Event
) -> None:
    status.report(event)
    [line] = capfd.readouterr().err.splitlines()
    assert json.loads(line) == {"event": status.name(event), **asdict(event)}
    assert status.parse(line) == event


@given(st.text())
def test_no_message_controls_a_terminal_or_forges_an_entry(text: str) -> None:
    for line in (text, json.dumps({"event": "error", "message": text})):
        match status.parse(line):
            case Output(shown) | status.Error(shown):
                first, *others = shown.split("\n")
        assert all(other.startswith("    ") for other in others)
        assert all(part.isprintable() for part in (first, *others))


def test_unprintable_characters_are_escaped() -> None:
    line = json.dumps({"event": "error", "message": "/tmp/\x1b[2Jlib\u202e.so é\udcff"})
    shown = "/tmp/\\x1b[2Jlib\\u202e.so é\\udcff"
    assert status.parse(line) == status.Error(shown)


def test_further_lines_of_a_message_are_indented() -> None:
    line = json.dumps({"event": "log", "level": "info", "message": "two\nlines"})
    assert status.parse(line) == Log("info", "two\n    lines")


def test_every_event_is_tried() -> None:
    assert {type(event) for event in EVENTS} == {*status._EVENTS.values()}


def test_a_line_for_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    status.log("info", "Yes.")
    assert status.parse(capfd.readouterr().err) == Log("info", "Yes.")


@pytest.mark.parametrize("event", EVENTS, ids=status.name)
def test_fields_that_a_newer_engine_adds_are_ignored(event: Event) -> None:
    line = {"event": status.name(event), **asdict(event), "colour": "blue"}
    assert status.parse(json.dumps(line)) == event


@pytest.mark.parametrize("values", BAD, ids=str)
def test_an_object_with_other_fields_or_types_is_no_event(
    values: dict[str, Any],
) -> None:
    line = json.dumps(values)
    assert status.parse(line) == Output(line)


@pytest.mark.parametrize(
    "line", ["debug output\n", "3\n", "{}\n", '{"event": 5}\n', "", "[" * 100_000]
)
def test_any_other_line_is_output(line: str) -> None:
    assert status.parse(line) == Output(line.rstrip())


@given(st.text())
def test_any_line_is_read(line: str) -> None:
    assert isinstance(status.parse(line), Output)


@given(
    st.sampled_from(list(status._EVENTS)),
    st.dictionaries(
        st.sampled_from(["message", "level", "packets", "step", "path"]) | st.text(),
        JSON_VALUES,
    ),
)
def test_any_object_is_read(name: str, values: dict[str, Any]) -> None:
    event = status.parse(json.dumps({**values, "event": name}))
    assert isinstance(event, Output) or status.name(event) == name


def test_a_front_that_is_gone_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    monkeypatch.setattr(status, "STATUS_FD", write_fd)
    status.report(Ready())
    os.close(write_fd)
    status.report(Ready())
