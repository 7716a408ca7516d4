"""How the commands about TLS fail, and what they print of odd names."""

import os
import signal
from pathlib import Path

import pytest

from tccap.check import inspection, tlscommands
from tccap.tls import scan
from tccap.tls.sites import Inspection

REFUSED = Inspection("", "", "", (), "", "It is odd.")
# A terminal would obey the second, and the first makes two lines of one.
ODD = "a\nb\x1b[2Jé"
SHOWN = "a\\nb\\x1b[2Jé"


@pytest.fixture(autouse=True)
def _signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)


@pytest.mark.parametrize(
    ("arguments", "user", "sentence"),
    [
        ([], 0, "Use tccap tls list, tccap tls inspect FILE or tccap tls scan"),
        (["inspect"], 0, "Use tccap tls list, tccap tls inspect FILE or"),
        (["list", "x"], 0, "Use tccap tls list, tccap tls inspect FILE or"),
        (["inspect", f"/{ODD}"], 0, f"/{SHOWN} cannot be read: No such file"),
        (["scan", f"/{ODD}"], 0, f"/{SHOWN} is not a folder."),
        (["scan"], 1000, "Only root sees all programs: run sudo tccap tls scan."),
        (["list"], 1000, "Only root sees all programs: run sudo tccap tls list."),
    ],
)
def test_an_error_is_one_sentence(
    arguments: list[str],
    user: int,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert tlscommands.main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(sentence)
    assert output.err.count("\n") == 1


def test_names_are_printable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(scan, "scan", lambda _folders: [(ODD, REFUSED)])
    assert tlscommands.main(["scan", str(tmp_path)]) == 0
    line, count = capsys.readouterr().out.splitlines()
    assert line == f"{SHOWN}: refused: It is odd."
    assert count == "0 files are probed from the start of every capture."


def test_a_file_without_secrets_is_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "inspect", lambda _path: REFUSED)
    assert tlscommands.main(["inspect", "/bin/sh"]) == 1
