"""Files that were probed before are probed again, as long as they are unchanged."""

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


def _keep(path: Path) -> None:
    status = path.stat()
    identity = status.st_dev, status.st_ino, status.st_ctime_ns
    learned.keep(str(path), Content(*identity, status.st_size))


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
    learned.keep(str(program), Content(0, 0, 0, 0))
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
        b"[1, 2, 3, 4, 5]",
        b'["a\\u0000", 1, 2, 3, 4]',
    ):
        learned.CACHE.keep(learned.CACHE.names()[0], data)
        assert _files() == []
