"""The findings of `tccap check`, on machines that are not this one."""

import importlib.metadata
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tccap.bpf import features
from tccap.check import check, sandboxes
from tccap.check.check import MISSING, NOTE, OK, Finding
from tccap.check.sandboxes import Entered
from tccap.errors import TccapError
from tccap.front import launcher
from tccap.paths import SCRIPT
from tccap.tls import libraries
from tccap.tls.inspector import Inspector
from tccap.tls.sites import Inspection

FOLDERS_4_0 = "Temp:\t/tmp\nGlobal Plugins:\t/usr/p\nExtcap path:        \t{0}\n"
FOLDERS_4_6 = "Personal Extcap path:\t/root/none\nGlobal Extcap path:\t{0}\n"


def fails_for_people() -> Iterator[Finding]:
    raise TccapError("bcc is missing: install it.")
    yield


def breaks() -> Iterator[Finding]:
    raise ValueError("first line\nsecond line")
    yield


def works() -> Iterator[Finding]:
    yield Finding(OK, "a", "fine")


def notes() -> Iterator[Finding]:
    yield Finding(NOTE, "b", "less")


def test_a_check_that_fails_is_a_finding_and_the_others_go_on() -> None:
    checks = {"bcc": fails_for_people, "x": breaks, "a": works}
    assert list(check.findings(checks)) == [
        Finding(MISSING, "bcc", "bcc is missing: install it."),
        Finding(MISSING, "x", "could not be checked: first line"),
        Finding(OK, "a", "fine"),
    ]


@pytest.mark.parametrize(
    ("last", "status", "verdict"),
    [
        (notes, 0, "A capture will work: tshark -C tccap -i tccap-any"),
        (
            breaks,
            1,
            "No capture will work yet. Begin with x: could not be checked: first line",
        ),
    ],
)
def test_only_what_is_missing_makes_the_status_1(
    last: check.Check,
    status: int,
    verdict: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(check, "CHECKS", {"a": works, "x": last})
    monkeypatch.setattr(shutil, "which", lambda *_, **__: "/usr/bin/tshark")
    monkeypatch.delenv("SUDO_UID", raising=False)
    assert check.main() == status
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ok       a                fine"
    assert lines[-1] == verdict


def version_is(number: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if number is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return number

    monkeypatch.setattr(importlib.metadata, "version", version)


@pytest.mark.parametrize(
    ("version", "mark"),
    [("0.9.5", OK), ("0.10.0", OK), ("0.7.2", MISSING), (None, MISSING)],
)
def test_a_python_package_must_be_there_and_new_enough(
    version: str | None, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    version_is(version, monkeypatch)
    assert check._python_package("a-package", "0.9.5").mark == mark


def test_the_packages_are_those_that_the_project_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    version_is("99", monkeypatch)
    subjects = [finding.subject for finding in check._python_packages()]
    assert subjects == ["python-pcapng"]


def fake_tshark(folder: Path, folders: str) -> str:
    program = folder / "tshark"
    program.write_text(
        "#!/bin/sh\n"
        "[ $1 = --version ] && echo 'TShark (Wireshark) 4.6.1 (Git v4.6.1).'\n"
        f"[ $1 = -G ] && printf '{folders}'\n"
    )
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize("folders", [FOLDERS_4_0, FOLDERS_4_6])
def test_a_link_to_this_copy_is_found_where_wireshark_looks(
    folders: str, tmp_path: Path
) -> None:
    extcap = tmp_path / "with space" / "extcap"
    extcap.mkdir(parents=True)
    tshark = fake_tshark(tmp_path, folders.format(extcap))
    link = extcap / "tccap.py"

    nothing = list(check._one_wireshark(tshark))
    assert nothing[0] == Finding(OK, "tshark", f"4.6.1 ({tshark})")
    assert nothing[1].mark == MISSING
    assert f"{extcap}: run sudo ./install.sh" in nothing[1].text

    other = tmp_path / "other" / "tccap.py"
    other.parent.mkdir()
    other.write_text("")
    other.chmod(0o755)
    link.symlink_to(other)
    another = list(check._one_wireshark(tshark))[1]
    assert (another.mark, str(link) in another.text) == (MISSING, True)

    link.unlink()
    link.symlink_to(SCRIPT)
    ours = list(check._one_wireshark(tshark))[1]
    assert ours == Finding(OK, "tshark extcap", str(link))


def test_without_wireshark_files_can_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    monkeypatch.setenv("SUDO_UID", "1000")
    assert [finding.mark for finding in check._wireshark()] == [NOTE]
    assert check._next_step([]) == (
        "A capture will work: sudo tccap -i any -w FILE.pcapng"
    )


@pytest.mark.parametrize(
    ("modes", "mark", "text"),
    [
        ("[none] integrity confidentiality\n", OK, "none"),
        ("none [integrity] confidentiality\n", OK, "integrity"),
        ("none integrity [confidentiality]\n", NOTE, "confidentiality: "),
        (None, OK, "the kernel reports none"),
    ],
)
def test_lockdown(
    modes: str | None,
    mark: str,
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "lockdown"
    if modes is not None:
        file.write_text(modes)
    monkeypatch.setattr(features, "LOCKDOWN", file)
    (finding,) = check._lockdown()
    assert finding.mark == mark
    assert finding.text.startswith(text)


def test_without_root_the_kernel_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(launcher, "SUDO", "/nowhere/sudo")
    assert [finding.mark for finding in check._kernel()] == [OK, NOTE]
    (rights,) = check.findings({"rights": check._rights})
    assert rights.mark == MISSING


def test_a_refused_library_has_its_reason_and_one_that_only_helps_no_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    helps = Inspection("", "NSS", "", (), "names", "", handle_at=8)
    refused = Inspection("", "", "", (), "", "It is odd.")
    answers = iter([helps, refused])
    monkeypatch.setattr(libraries, "common", lambda: ["/bin/sh", "/bin/ls"])
    monkeypatch.setattr(Inspector, "inspect", lambda _self, _fd: next(answers))
    assert [*check._tls()] == [
        Finding(NOTE, "TLS secrets", "not from /bin/ls: It is odd.")
    ]


@pytest.mark.parametrize(
    ("entered", "refusal", "expected"),
    [
        (Entered("", 2_100_000_000, is_own_user=True), "", [OK]),
        (Entered("", 65534), "", [NOTE]),
        (Entered("Function not implemented"), "", [MISSING]),
        (Entered("", 2_100_000_000, is_own_user=True), "denied", [OK, NOTE]),
    ],
)
def test_what_sandboxes_need(
    entered: Entered,
    refusal: str,
    expected: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(sandboxes, "enter", lambda: entered)
    monkeypatch.setattr(sandboxes, "leave_network", lambda: refusal)
    found = list(check._sandboxes())
    assert [finding.mark for finding in found] == expected
    assert entered.refusal in found[0].text
    assert refusal in found[-1].text
