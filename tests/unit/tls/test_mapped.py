"""Files that this very process executes code from."""

import mmap
import os
import stat
import sys
from pathlib import Path

import pytest

from tccap.tls import mapped


def test_the_interpreter_is_among_them() -> None:
    paths = {file.identity.path for file in mapped.files(os.getpid())}
    assert str(Path(sys.executable).resolve()) in paths


def test_each_is_there_once() -> None:
    found = [file.identity for file in mapped.files(os.getpid())]
    assert len(found) == len({*found})
    assert {*found} == mapped.in_use(os.getpid())


def test_a_process_that_is_gone_has_none() -> None:
    assert [*mapped.files(1 << 22)] == []
    assert mapped.has_ended(1 << 22)


def test_a_process_that_runs_has_not_ended() -> None:
    assert not mapped.has_ended(os.getpid())


@pytest.mark.parametrize("odd", ["\r", "\v", "\x1c", "\x85", "\u2028"])
def test_a_files_name_does_not_begin_another_mapping(tmp_path: Path, odd: str) -> None:
    folder = tmp_path / f"a{odd}0-9 r-xp 0 0:0 7 "
    folder.mkdir()
    file = folder / "b.so"
    file.write_bytes(bytes(mmap.PAGESIZE))
    executable = mmap.PROT_READ | mmap.PROT_EXEC
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, prot=executable):
        found = [each.identity.path for each in mapped.files(os.getpid())]
    assert [path for path in found if path.endswith("b.so")] == [str(file)]


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, tmp_path / "absent"):
        assert mapped.open_file(str(path)) is None


@pytest.mark.parametrize("before", [0, 1])
def test_a_file_that_is_replaced_while_it_is_opened_is_no_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    """The other file takes the name before the first or the second open."""
    path, fifo = tmp_path / "file", tmp_path / "fifo"
    path.write_bytes(b"x")
    os.mkfifo(fifo)
    really_open = os.open
    opens: list[str] = []

    def replacing_open(name: str, flags: int) -> int:
        if len(opens) == before:
            fifo.replace(path)
        opens.append(name)
        return really_open(name, flags)

    monkeypatch.setattr(os, "open", replacing_open)
    fd = mapped.open_file(str(path))
    if fd is not None:
        assert stat.S_ISREG(os.fstat(fd).st_mode)
        assert os.read(fd, 1) == b"x"
        os.close(fd)


def test_nothing_is_left_open(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    before = _open_files()
    assert mapped.open_file(str(tmp_path)) is None
    fd = mapped.open_file(str(tmp_path / "file"))
    assert fd is not None
    os.close(fd)
    assert _open_files() == before


def _open_files() -> int:
    return len([*Path("/proc/self/fd").iterdir()])
