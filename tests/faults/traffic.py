"""A sender that counts its packets, and the packets in a stream."""

import contextlib
import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from faults.table import Row
from support import frames, netns, running, stream
from support.flood import flood

SOURCE_PORT = 4000
OUT = stream.OUTBOUND
IPV4_UDP = 14 + 20


@contextlib.contextmanager
def sender(pair: netns.Pair) -> Iterator["Sender"]:
    """Yield a socket in the near namespace that sends to the far one's sink."""
    with pair.near.entered():
        sock = socket.socket(type=socket.SOCK_DGRAM)
    with sock:
        sock.bind(("0.0.0.0", SOURCE_PORT))
        sock.connect((pair.far_address, netns.DISCARD_PORT))
        yield Sender(sock)


class Sender:
    """Counts the packets that it has sent."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.sent = 0

    def send(self, count: int, payload_len: int = 64) -> None:
        """Send so many packets, as fast as possible."""
        flood(self._sock, payload_len, count)
        self.sent += count

    def say(self, payload: bytes) -> None:
        """Send one packet."""
        self._sock.send(payload)
        self.sent += 1

    def mark(self, engine: running.Engine) -> None:
        """Send until the stream holds one of these packets."""
        mark = frames.marker()
        output = engine.output
        assert output

        def seen() -> bool:
            self.say(mark)
            return mark in output.so_far()

        running.until(seen, "a packet in the stream")


def captured(found: stream.Stream) -> int:
    """Return how many of the sender's packets are in a stream."""
    port = struct.pack("!H", SOURCE_PORT)
    return sum(
        f.data[IPV4_UDP : IPV4_UDP + 2] == port and f.direction == OUT
        for f in found.frames
    )


def counted(found: stream.Stream) -> int:
    """Return how many packets the stream's statistics call lost."""
    return sum(count.dropped for count in found.counts.values())


def accounted(fault: str, outcome: str, sent: int, found: stream.Stream) -> Row:
    """Return the row of a fault; assert that all lost packets were counted."""
    row = Row(fault, outcome, sent, captured(found), counted(found))
    assert sent == row.captured + row.counted
    return row


def memory_kib(pid: int) -> int:
    """Return the anonymous memory of a process, without the ring's pages."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    raise AssertionError


@contextlib.contextmanager
def cat(file: Path) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """Yield a reader that writes all into a file, and the pipe that it reads."""
    read_fd, write_fd = os.pipe()
    with (
        file.open("wb") as target,
        subprocess.Popen(["cat"], stdin=read_fd, stdout=target) as process,
    ):
        os.close(read_fd)
        try:
            yield process, write_fd
        finally:
            process.kill()


def seconds(name: str, short: float) -> float:
    """Return a duration: short, or from the environment."""
    return float(os.environ.get(name, short))


def until_s(duration_s: float) -> Iterator[None]:
    """Yield again and again for that time, at least once."""
    ends = time.monotonic() + duration_s
    yield
    while time.monotonic() < ends:
        yield
