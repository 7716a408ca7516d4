"""A long capture: traffic, and connections and processes that come and go.

Short by default; ``make soak`` goes on for an hour. Memory, descriptors and BPF
objects must stay as they are, and packets keep their processes.
"""

import os
import re
import socket
import struct
import subprocess
import sys
import time

import pytest

from faults import traffic
from faults.use import Use
from support import netns, running, stream

SOAK_S = traffic.seconds("TCCAP_SOAK_S", 10)
# Until then, tables fill and Python's memory settles.
WARM_S = min(60.0, SOAK_S / 2)
GROWTH_KIB = 2048
PORT = 9
# One process after the other, each with its own connections.
CHURN = """
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
while True:
    child = os.fork()
    if child == 0:
        for _ in range(20):
            client = socket.create_connection(listener.getsockname())
            served, _ = listener.accept()
            client.sendall(b"x" * 1000)
            client.close(); served.close()
        os._exit(0)
    os.waitpid(child, 0)
"""
# One process that stays: its packets have its label from the beginning to the end.
STEADY = """
import socket, time
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.bind(("127.0.0.1", 0))
print(sender.getsockname()[1], flush=True)
while True:
    sender.sendto(b"steady", ("127.0.0.1", 9))
    time.sleep(0.001)
"""


class Reader:
    """Reads a stream while it is written, and keeps only counts."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rest = b""
        self.frames = self.steady = self.labelled = 0

    def read(self, port: int, *, until_s: float) -> bool:
        """Read until then; return whether the stream is still open."""
        while time.monotonic() < until_s:
            data = os.read(self._fd, 1 << 20)
            if not data:
                assert not self._rest
                return False
            self._rest += data
            whole = stream.whole_blocks(self._rest)
            self._rest = self._rest[len(whole) :]
            for kind, body in stream.blocks(whole):
                self._count(kind, body, port)
        return True

    def _count(self, kind: int, body: bytes, port: int) -> None:
        if kind != stream.EPB:
            return
        self.frames += 1
        (caplen,) = struct.unpack_from("=I", body, 12)
        if struct.unpack_from("!HH", body, 20 + 14 + 20) != (port, PORT):
            return
        self.steady += 1
        comment = stream._options(body[20 + -(-caplen // 4) * 4 :]).get(1, b"")
        if re.match(rb"pid=\d+ comm=\S", comment):
            self.labelled += 1


@pytest.mark.timeout(0 if SOAK_S > 100 else 600)
def test_a_long_capture() -> None:
    read_fd, write_fd = os.pipe()
    with (
        netns.namespace() as space,
        _sink(space),
        _python(space, STEADY) as steady,
        _python(space, CHURN),
        running.engine(space, "lo", stdout=write_fd, label="full") as engine,
    ):
        os.close(write_fd)
        assert steady.stdout
        port = int(steady.stdout.readline())
        pids = (engine.process.pid, running.carrier(engine.process.pid))
        began = time.monotonic()
        reader = Reader(read_fd)
        reader.read(port, until_s=began + WARM_S)
        warm, early = [Use.of(pid) for pid in pids], (reader.steady, reader.labelled)
        reader.read(port, until_s=began + SOAK_S)
        late = [Use.of(pid) for pid in pids]
        engine.close_stdin()
        while reader.read(port, until_s=time.monotonic() + 1):
            pass
        assert engine.process.wait(running.DEADLINE_S) == 0
        engine.wait_for('"end"')
        end = next(e for e in engine.events() if e["event"] == "end")
    os.close(read_fd)
    sys.stdout.write(
        f"\n{SOAK_S:.0f} s: {reader.frames} packets, {end['dropped']} lost; "
        f"warm {warm}, late {late}; of {reader.steady} packets of a process that "
        f"stays, {reader.labelled} have its label\n"
    )
    assert end["accepted"] == reader.frames + end["dropped"]
    assert not end["unrecorded_sockets"]
    for before, after in zip(warm, late, strict=True):
        assert after.memory_kib - before.memory_kib < GROWTH_KIB
        assert after.descriptors <= before.descriptors
        assert after.objects == before.objects
    since = reader.steady - early[0]
    assert since > 0
    assert reader.labelled - early[1] == since


def _sink(space: netns.Namespace) -> socket.socket:
    """Return a socket bound to the steady packets' port, so that no ICMP answers."""
    with space.entered():
        sink = socket.socket(type=socket.SOCK_DGRAM)
        sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        sink.bind(("127.0.0.1", PORT))
    return sink


def _python(space: netns.Namespace, code: str) -> "_Running":
    return _Running(
        space.command(sys.executable, "-c", code), stdout=subprocess.PIPE, text=True
    )


class _Running(subprocess.Popen[str]):
    """A program that ends with the block."""

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.communicate()
