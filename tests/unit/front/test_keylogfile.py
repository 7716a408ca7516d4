"""Following a file that another program writes."""

import os
import select
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tccap.errors import TccapError
from tccap.front.keylogfile import KeylogFile

NOBODY = 65534


def _news(keys: KeylogFile) -> bytes:
    """Return the new text; the kernel has reported it before write(2) returned."""
    assert select.select([keys.fd], [], [], 60)[0]
    return b"".join(keys.new_text())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def test_only_what_comes_later_is_given(path: Path) -> None:
    path.write_bytes(b"old\n")
    keys = KeylogFile(str(path))
    with path.open("ab", buffering=0) as file:
        file.write(b"first\n")
        assert _news(keys) == b"first\n"
        file.write(b"sec")
        file.write(b"ond\n")
        assert _news(keys) == b"second\n"
    assert [*keys.new_text()] == []


def test_a_file_that_is_not_there_yet(path: Path) -> None:
    keys = KeylogFile(str(path))
    path.write_bytes(b"first\n")
    assert _news(keys) == b"first\n"


def test_a_file_that_is_replaced_is_read_to_its_end_and_anew(path: Path) -> None:
    path.write_bytes(b"old\n")
    keys = KeylogFile(str(path))
    with path.open("ab", buffering=0) as file:
        file.write(b"last\n")
    other = path.with_name("other")
    other.write_bytes(b"first\n")
    other.rename(path)
    assert _news(keys) == b"last\nfirst\n"


def test_a_file_that_is_emptied_begins_anew(path: Path) -> None:
    path.write_bytes(b"something long\n")
    keys = KeylogFile(str(path))
    path.write_bytes(b"new\n")
    assert _news(keys) == b"new\n"


def test_other_files_in_the_folder_are_ignored(path: Path) -> None:
    keys = KeylogFile(str(path))
    path.with_name("other").write_bytes(b"text\n")
    assert _news(keys) == b""


def test_a_link_is_followed(path: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    real = tmp_path / "folder" / "real"
    path.symlink_to(real)
    keys = KeylogFile(str(path))
    real.write_bytes(b"text\n")
    assert _news(keys) == b"text\n"


def test_a_folder_is_no_key_log(path: Path) -> None:
    keys = KeylogFile(str(path))
    path.mkdir()
    assert _news(keys) == b""


def test_without_the_folder_it_says_so(path: Path) -> None:
    with pytest.raises(TccapError, match="No such file or directory"):
        KeylogFile(str(path / "deeper" / "file"))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for odd in (tmp_path, Path("/dev/null")):
        with pytest.raises(TccapError, match="is not an ordinary file"):
            KeylogFile(str(odd))


@pytest.fixture
def unreadable() -> Iterator[Path]:
    """A file that this process may not read, in a folder that it may search."""
    own = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        file = Path(folder) / "keys"
        file.touch(mode=0)
        if own == 0:  # who may read everything
            os.seteuid(NOBODY)
        yield file
        os.seteuid(own)


def test_what_may_not_be_read_is_refused(unreadable: Path) -> None:
    with pytest.raises(TccapError, match="cannot be read by this user"):
        KeylogFile(str(unreadable))
