"""Which details of other users' processes a user may see."""

import os
import syslog
from pathlib import Path

import pytest

from tccap.errors import TccapError
from tccap.host import access, ownership
from tccap.host.access import ALL, OWN, Caller


def _sudo(monkeypatch: pytest.MonkeyPatch, uid: str) -> None:
    monkeypatch.setenv("SUDO_UID", uid)
    monkeypatch.setenv("SUDO_GID", "100")
    monkeypatch.setattr(access, "_need_pipes", lambda _uid: None)


def _file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Path:
    file = tmp_path / "tccap.conf"
    file.write_text(text)
    monkeypatch.setattr(access, "CONFIGURATION", file)
    monkeypatch.setattr(access, "ROOT", os.getuid())
    return file


def test_root_may_know_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(os, "getgid", lambda: 0)
    root = access.caller()
    assert root == Caller(0, 0, ALL, ALL, own=0)
    assert root.sees_details_of(1)


def test_others_know_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    _sudo(monkeypatch, "1000")
    monkeypatch.setattr(access, "CONFIGURATION", Path("/nowhere/tccap.conf"))
    ada = access.caller()
    assert ada == Caller(1000, 100, OWN, OWN, own=1000)
    monkeypatch.setattr(ownership, "is_own", lambda *ids: ids == (7, 1000, 100))
    for may_know in (ada.sees_details_of, ada.owns):
        assert may_know(7)
        assert not may_know(8)


def test_who_may_read_all_secrets_owns_all_programs_of_a_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also those that the user may not trace."""
    monkeypatch.setattr(ownership, "is_own", lambda *_ids: False)
    own = Caller(0, 0, ALL, ALL, own=os.getuid())
    assert own.owns(os.getpid())
    assert not own._replace(own=4711).owns(os.getpid())
    assert not own.owns(1 << 22)


def test_behind_a_root_who_came_by_sudo_is_a_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(os, "getgid", lambda: 0)
    monkeypatch.setenv(access.BEHIND_ROOT, "1000")
    assert access.caller() == Caller(0, 0, ALL, ALL, own=1000)


@pytest.mark.parametrize("uid", ["", "-1", "root", "0x0", "1 ", "٣"])
def test_a_user_id_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, uid: str
) -> None:
    _sudo(monkeypatch, uid)
    with pytest.raises(TccapError, match="sudo did not tell"):
        access.caller()


def test_sudo_has_to_tell_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    _sudo(monkeypatch, "1000")
    monkeypatch.delenv("SUDO_GID")
    with pytest.raises(TccapError, match="sudo did not tell"):
        access.caller()


@pytest.mark.parametrize(
    ("text", "details", "secrets"),
    [
        ("", OWN, OWN),
        ('details = "all"\n', ALL, OWN),
        ('# both\nsecrets = "all"\ndetails = "own"\n', OWN, ALL),
    ],
)
def test_the_administrator_may_allow_more(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    details: str,
    secrets: str,
) -> None:
    _file(tmp_path, monkeypatch, text)
    _sudo(monkeypatch, "4711")
    assert access.caller() == Caller(4711, 100, details, secrets, own=4711)


@pytest.mark.parametrize(
    "text",
    [
        "details",
        'details = "some"',
        "details = true",
        'details = ["all"]',
        'detail = "all"',
        '[details]\nx = "all"',
        'details = "all"\ndetails = "own"',
        "\xff",
    ],
)
def test_a_file_that_is_not_right_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    _file(tmp_path, monkeypatch, "").write_bytes(text.encode("latin-1"))
    _sudo(monkeypatch, "4711")
    with pytest.raises(TccapError, match="An administrator has to mend"):
        access.caller()


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_can_write_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    _file(tmp_path, monkeypatch, 'details = "all"').chmod(mode)
    _sudo(monkeypatch, "4711")
    with pytest.raises(TccapError, match="somebody else than root can write it"):
        access.caller()


def test_somebody_elses_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _file(tmp_path, monkeypatch, 'details = "all"')
    monkeypatch.setattr(access, "ROOT", os.getuid() + 1)
    _sudo(monkeypatch, "4711")
    with pytest.raises(TccapError, match="somebody else than root can write it"):
        access.caller()


def test_only_pipes_are_written_for_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SUDO_UID", "4711")
    monkeypatch.setenv("SUDO_GID", "4711")
    logged: list[str] = []
    monkeypatch.setattr(syslog, "syslog", lambda _level, text: logged.append(text))
    file = (tmp_path / "file").open("wb")
    with file, monkeypatch.context() as patched:
        status = os.fstat(file.fileno())
        patched.setattr(os, "fstat", lambda _fd: status)
        with pytest.raises(TccapError, match="Only root can capture into anything"):
            access.caller()
    (refusal,) = logged
    assert refusal.startswith("user 4711 was refused: Only root can capture into ")
