"""Files that this very process executes code from."""

import os
import sys
from pathlib import Path

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


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, tmp_path / "absent"):
        assert mapped.open_file(str(path)) is None
