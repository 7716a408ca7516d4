import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tccap.ipc import status


def test_what_is_reported_is_parsed(capfd: pytest.CaptureFixture[str]) -> None:
    status.report("timing", step="load", seconds=0.5)
    status.log("warning", "two\nlines")
    lines = capfd.readouterr().err.splitlines()
    assert [status.parse(line) for line in lines] == [
        {"event": "timing", "step": "load", "seconds": 0.5},
        {"event": "log", "level": "warning", "message": "two\n    lines"},
    ]


@pytest.mark.parametrize(
    "line", ["debug output\n", "3\n", "{}\n", '{"event": 5}\n', ""]
)
def test_other_output_is_a_debug_message(line: str) -> None:
    assert status.parse(line) == {
        "event": "output",
        "level": "debug",
        "message": line.rstrip(),
    }


@settings(deadline=None)
@given(st.text())
def test_no_message_controls_a_terminal_or_forges_an_entry(text: str) -> None:
    for line in (text, json.dumps({"event": "log", "message": text})):
        first, *others = status.parse(line)["message"].split("\n")
        assert all(other.startswith("    ") for other in others)
        assert all(part.isprintable() for part in (first, *others))


def test_what_is_not_printable_is_escaped() -> None:
    line = json.dumps({"event": "log", "message": "/tmp/\x1b[2Jlib\u202e.so é\udcff"})
    assert status.parse(line)["message"] == "/tmp/\\x1b[2Jlib\\u202e.so é\\udcff"


@given(st.text())
def test_any_line_is_an_event(line: str) -> None:
    assert isinstance(status.parse(line)["event"], str)


@given(st.dictionaries(st.text(), st.integers()))
def test_any_object_is_an_event(values: dict[str, int]) -> None:
    assert isinstance(status.parse(json.dumps(values))["event"], str)


def test_a_front_that_is_gone_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    monkeypatch.setattr(status, "STATUS_FD", write_fd)
    status.report("ready")
    os.close(write_fd)
    status.report("ready")
