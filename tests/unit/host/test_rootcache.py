"""What is kept for the next time, and how little a failed write leaves."""

import contextlib
import fcntl
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tccap.host import rootcache
from tccap.host.rootcache import RootCache

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root keeps answers")


@pytest.fixture(autouse=True)
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(rootcache, "TOP", tmp_path)
    return tmp_path


def names(top: Path) -> list[str]:
    return sorted(file.name for file in (top / "answers").iterdir())


def test_the_entry_used_last_stays(top: Path) -> None:
    cache = RootCache("answers", at_most=2)
    for age, name in enumerate(("old", "older")):
        cache.keep(name, name.encode())
        os.utime(top / "answers" / name, (1000 - age, 1000 - age))
    assert cache.get("older", bytes) == b"older"
    cache.keep("new", b"new")
    wanted = ("new", "old", "older")
    assert [cache.get(name, bytes) for name in wanted] == [b"new", None, b"older"]


def test_a_folder_that_cannot_be_made_costs_time_only(top: Path) -> None:
    (top / "answers").write_text("a file")
    cache = RootCache("answers", at_most=2)
    cache.keep("name", b"data")
    assert cache.get("name", bytes) is None


def test_a_failed_write_leaves_nothing(top: Path) -> None:
    cache = RootCache("answers", at_most=8)
    child = os.fork()  # the limit also holds for a file that the test run writes into
    if not child:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        cache.keep("small", b"data")
        cache.keep("large", bytes(2000))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert names(top) == ["small"]


def kill_while_keeping(cache: RootCache, name: str) -> None:
    """Keep an answer in a child process that dies before the answer has its name."""
    child = os.fork()
    if not child:
        os.rename = Path.replace = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
        cache.keep(name, b"data")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


def test_killed_writers_leave_one_file_until_the_next_write(top: Path) -> None:
    cache = RootCache("answers", at_most=8)
    for n in range(3):
        kill_while_keeping(cache, f"lost{n}")
        assert len(names(top)) == 1
    cache.keep("name", b"data")
    assert names(top) == ["name"]


def test_an_answer_is_kept_although_another_process_is_writing(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = RootCache("answers", at_most=4)
    cache.keep("first", b"data")
    with locked(top):
        cache.keep("second", b"data")  # a writer that was stopped is not waited for
    assert names(top) == ["first"]
    with locked(top) as unlock:
        monkeypatch.setattr(time, "sleep", lambda _: unlock())
        cache.keep("third", b"data")
    assert names(top) == ["first", "third"]


@contextlib.contextmanager
def locked(top: Path) -> Iterator[Callable[[], None]]:
    """Hold the lock of a writer; yield a function that lets go of it."""
    folder = os.open(top / "answers", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield lambda: fcntl.flock(folder, fcntl.LOCK_UN)
    finally:
        os.close(folder)


def test_files_left_by_others_count_too(top: Path) -> None:
    cache = RootCache("answers", at_most=4)
    cache.keep("first", b"data")
    for n in range(9):
        (top / "answers" / f"first.{n}").write_bytes(b"left by a writer of before")
    cache.keep("second", b"data")
    assert len(names(top)) == 4
    assert cache.get("second", bytes) == b"data"


def test_two_writers_do_not_disturb_each_other(top: Path) -> None:
    cache = RootCache("answers", at_most=4)
    for _ in range(2):
        if not os.fork():
            for n in range(200):
                cache.keep(f"{n}", b"whole" * 1000)
            os._exit(0)
    assert [os.wait()[1] for _ in range(2)] == [0, 0]
    cache.keep("last", b"whole" * 1000)
    assert len(names(top)) == 4
    assert {cache.get(name, bytes) for name in names(top)} == {b"whole" * 1000}


def test_the_umask_does_not_matter(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rootcache, "TOP", top / "parent" / "cache")
    for umask in (0o000, 0o777):
        before = os.umask(umask)
        try:
            RootCache(f"{umask}", at_most=4).keep("name", b"data")
        finally:
            os.umask(before)
        assert RootCache(f"{umask}", at_most=4).get("name", bytes) == b"data"
    made = [top / "parent", *(top / "parent").rglob("*")]
    modes = {path.name: path.stat().st_mode & 0o777 for path in made}
    folders = {"parent": 0o755, "cache": 0o700, f"{0o000}": 0o700, f"{0o777}": 0o700}
    # The mode of a file does not matter in a folder that only root can enter.
    assert modes == folders | {"name": modes["name"]}


@pytest.mark.parametrize("level", ["parent", "parent/cache", "parent/cache/answers"])
@pytest.mark.parametrize("change", ["group", "others", "owner", "link"])
def test_a_level_that_others_can_change_is_not_used(
    top: Path, monkeypatch: pytest.MonkeyPatch, level: str, change: str
) -> None:
    monkeypatch.setattr(rootcache, "TOP", top / "parent" / "cache")
    cache = RootCache("answers", at_most=4)
    cache.keep("name", b"data")
    assert cache.get("name", bytes) == b"data"
    place = top / level
    if change == "owner":
        os.chown(place, 1000, 0)
    elif change == "link":
        place.rename(top / "elsewhere")
        place.symlink_to(top / "elsewhere")
    else:
        place.chmod(0o770 if change == "group" else 0o707)
    assert cache.get("name", bytes) is None
    cache.keep("other", b"data")
    assert not [*top.rglob("other")]
    with pytest.raises(OSError, match=r"others|Not a directory|Too many"):
        cache.nameless_file(1)
