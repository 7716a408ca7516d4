"""The exit status and the output of calls by a person, without a capture."""

import errno
import os
from pathlib import Path

import pytest

from tccap import __version__
from tccap.front import commandline, listing


def test_answers_go_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert commandline.main(["--version"]) == 0
    assert capsys.readouterr() == (f"tccap {__version__}\n", "")


def test_any_comes_first_in_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert commandline.main(["-D"]) == 0
    names = capsys.readouterr().out.splitlines()
    assert names[0] == "any"
    assert "lo" in names


def test_bad_usage_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert commandline.main(["-i", "lo"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("-w is missing")


@pytest.mark.parametrize("where", [("tcp prt",), ("--filter", "tcp prt")])
def test_a_wrong_filter_is_found_before_anything_starts(
    where: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert commandline.main(["-i", "lo", "-w", "/no/such/file", *where]) == 1
    assert capsys.readouterr().err.startswith("The capture filter is not right: ")


def test_the_log_needs_another_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("kept")
    words = ("-i", "lo", "-w", str(file), "--log-file", str(tmp_path / "." / "file"))
    assert commandline.main([*words]) == 1
    assert capsys.readouterr().err == (
        f"{file} cannot be the log file, too: name another one.\n"
    )
    assert file.read_text() == "kept"


def test_what_the_system_refuses_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> list[str]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(listing, "capturable_devices", refuse)
    assert commandline.main(["-D"]) == 1
    assert capsys.readouterr().err == (
        "The system refuses tccap something: Too many open files.\n"
    )
