"""Files that were probed before are probed again, as long as they are unchanged."""

import json
import os
from pathlib import Path

import pytest

from tccap.host import rootcache
from tccap.tls import learned
from tccap.tls.knownfiles import Content

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root keeps answers")


@pytest.fixture(autouse=True)
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(rootcache, "TOP", tmp_path / "cache")
    return tmp_path


@pytest.fixture
def program(top: Path) -> Path:
    made = top / "program"
    made.write_bytes(b"code")
    return made


DIGEST = "ab" * 32


def _content(path: Path) -> Content:
    status = path.stat()
    identity = status.st_dev, status.st_ino, status.st_ctime_ns
    return Content(*identity, status.st_size)


def _keep(path: Path, digest: str = "") -> None:
    learned.keep(str(path), _content(path), digest)


def _digest(path: Path, content: Content | None = None) -> str:
    """Return the hash that is remembered of a file, which had this content."""
    with path.open("rb") as file:
        return learned.digest(str(path), file.fileno(), content or _content(path))


def _files(*, only_public: bool = False) -> list[str]:
    found = []
    for path, fd in learned.files(only_public=only_public):
        os.close(fd)
        found.append(path)
    return found


def test_an_unchanged_file_is_found(program: Path) -> None:
    _keep(program)
    assert _files() == [str(program)]


def test_a_changed_file_is_forgotten(program: Path) -> None:
    _keep(program)
    program.write_bytes(b"other code")
    assert _files() == []
    assert learned.CACHE.names() == []


def test_a_file_that_is_gone_is_forgotten(program: Path) -> None:
    _keep(program)
    program.unlink()
    assert _files() == []
    assert learned.CACHE.names() == []


def test_a_path_that_leads_elsewhere_is_not_kept(program: Path) -> None:
    learned.keep(str(program), Content(0, 0, 0, 0), "")
    assert _files() == []


def test_a_file_that_not_everybody_sees_is_for_those_who_may_see_all(
    program: Path,
) -> None:
    _keep(program)
    assert _files(only_public=True) == []
    assert _files() == [str(program)]


def test_a_damaged_record_is_ignored(program: Path) -> None:
    _keep(program)
    for data in (
        b"",
        b"{}",
        b'["/a"]',
        b"[1, 2, 3, 4, 5, 6]",
        b'["/a", "not a hash", 1, 2, 3, 4]',
        b'["a\\u0000", "", 1, 2, 3, 4]',
    ):
        learned.CACHE.keep(learned.CACHE.names()[0], data)
        assert _files() == []


def test_the_hash_of_an_unchanged_file_is_remembered(program: Path) -> None:
    _keep(program, DIGEST)
    assert _digest(program) == DIGEST


def test_a_file_without_a_hash_gets_it_later(program: Path) -> None:
    """It had changed just before it was read for the first time."""
    _keep(program)
    assert _digest(program) == ""
    _keep(program, DIGEST)
    assert _digest(program) == DIGEST


def test_a_changed_file_has_another_hash(program: Path) -> None:
    """Also if it has changed since somebody has looked."""
    _keep(program, DIGEST)
    before = _content(program)
    program.write_bytes(b"CODE")
    assert _digest(program) == _digest(program, before) == ""


def test_the_path_has_to_lead_to_the_file(program: Path) -> None:
    """A process may have another file there, in a mount namespace of its own."""
    _keep(program, DIGEST)
    with program.open("rb") as file:
        content = _content(program)
        # Its change time is another one now; the device's number decides elsewhere.
        program.rename(program.with_name("moved"))
        program.write_bytes(b"code")
        moved = _content(program.with_name("moved"))
        learned.CACHE.keep(
            learned._name(str(program)),
            json.dumps([str(program), DIGEST, *moved]).encode(),
        )
        assert content != moved
        assert learned.digest(str(program), file.fileno(), moved) == ""


def test_who_mounts_a_file_system_may_set_its_times(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such ones are mounted without set-user-ID programs."""
    _keep(program, DIGEST)
    usual = os.fstatvfs

    def foreign(fd: int) -> os.statvfs_result:
        result = usual(fd)
        return os.statvfs_result([*result[:8], result.f_flag | os.ST_NOSUID, 255])

    monkeypatch.setattr(os, "fstatvfs", foreign)
    assert _digest(program) == ""
