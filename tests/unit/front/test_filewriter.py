"""The process that writes the user's file, with a stream made here."""

import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.blocks import HEADS, PACKET, STATISTICS, block
from tccap.errors import TccapError
from tccap.front import filewriter
from tccap.front.filewriter import FileWriter, Written


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


def _write(path: Path, *texts: bytes, packets_max: int | None = None) -> Written:
    """Pass texts through a process; return what became of them."""
    fd = filewriter.open_file(str(path))
    writer = FileWriter(fd, packets_max, str(path))
    for text in texts:
        os.write(writer.stream_fd, text)
    os.close(writer.stream_fd)
    return writer.result()


def test_what_comes_is_written_and_counted(path: Path) -> None:
    texts = (HEADS, block(PACKET) * 3, block(STATISTICS))
    assert _write(path, *texts) == Written(3, "")
    assert path.read_bytes() == b"".join(texts)


def test_a_block_that_ends_in_the_middle_is_not_written(path: Path) -> None:
    assert _write(path, HEADS, block(PACKET)[:-1]) == Written(0, "")
    assert path.read_bytes() == HEADS


def test_after_the_last_packet_only_statistics_follow(path: Path) -> None:
    texts = (HEADS, block(PACKET) * 9, block(STATISTICS))
    assert _write(path, *texts, packets_max=2) == Written(2, "")
    assert path.read_bytes() == HEADS + block(PACKET) * 2 + block(STATISTICS)


def test_the_last_packet_is_noted_at_once(path: Path) -> None:
    writer = FileWriter(filewriter.open_file(str(path)), 1, str(path))
    os.write(writer.stream_fd, HEADS + block(PACKET))
    assert os.read(writer.notes_fd, 100) == b"stop\n"
    os.close(writer.stream_fd)
    assert writer.result() == Written(1, "")


def test_the_file_keeps_what_it_has_until_something_comes(path: Path) -> None:
    path.write_bytes(b"before")
    assert _write(path) == Written(0, "")
    assert path.read_bytes() == b"before"
    _write(path, HEADS)
    assert path.read_bytes() == HEADS


def test_what_is_no_stream_ends_it(path: Path) -> None:
    written = _write(path, HEADS, b"\0" * 64)
    assert written == Written(0, "The capturing process sent what is no pcapng block.")


def test_a_reader_that_goes_ends_it_without_an_error() -> None:
    # A process, since the one that writes would inherit a pipe's other end from here.
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as reader:
        assert reader.stdin
        writer = FileWriter(os.dup(reader.stdin.fileno()), None, "-")
        reader.kill()
    assert os.read(writer.notes_fd, 100) == b"stop\n"
    os.write(writer.stream_fd, HEADS + block(PACKET))  # is read all the same
    os.close(writer.stream_fd)
    assert writer.result() == Written(0, "")


@pytest.fixture
def terminal() -> Iterator[str]:
    ours, theirs = pty.openpty()
    yield os.ttyname(theirs)
    os.close(ours)
    os.close(theirs)


def test_a_terminal_gets_no_packets(terminal: str) -> None:
    with pytest.raises(TccapError, match=r"^Packets are not written to a terminal"):
        filewriter.open_file(terminal)


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/no/such", "No such file or directory"), ("/", "Is a directory")],
)
def test_a_file_that_cannot_be_written(path: str, reason: str) -> None:
    with pytest.raises(TccapError, match=f"^{path} cannot be written: {reason}.$"):
        filewriter.open_file(path)


def test_a_full_device_is_told(path: Path) -> None:
    path.symlink_to("/dev/full")
    assert _write(path, HEADS) == Written(
        0,
        f"{path} cannot be written any more, so the capture ended: No space left on "
        "device.",
    )


def test_a_reader_that_stalls_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filewriter, "REST_S", 0.2)
    reading, writing = os.pipe()
    writer = FileWriter(writing, None, "-")
    os.write(writer.stream_fd, HEADS)
    for _ in range(2):  # more than one pipe takes, and less than two
        os.write(writer.stream_fd, block(PACKET, bytes(60_000)))
    os.close(writer.stream_fd)
    with pytest.raises(TccapError, match=r"^The reader did not take the packets for"):
        writer.result()
    os.close(reading)
