"""A process with very many mappings that speaks TLS: packets are not lost for it."""

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import running
from support.netns import Namespace
from support.running import python

pytestmark = pytest.mark.full_matrix

MAPPINGS = 30_000
HELLOS, PACKETS, PAYLOAD_LEN = 200, 200, 1000
# It maps the first page of a file again and again, then sends ClientHellos, each with
# a random of its own on a new connection, and many other packets.
TALKER = f"""
import ctypes, mmap, os, socket, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
rights = mmap.PROT_READ | mmap.PROT_EXEC
for _ in range({MAPPINGS}):
    ctypes.CDLL(None).mmap(None, mmap.PAGESIZE, rights, mmap.MAP_PRIVATE, fd, 0)
print("mapped", flush=True)
input()
sink = socket.socket(type=socket.SOCK_DGRAM)
sink.bind(("127.0.0.1", 0))
sock = socket.socket(type=socket.SOCK_DGRAM)
sock.connect(sink.getsockname())
for n in range({HELLOS}):
    with socket.create_connection(("127.0.0.1", int(sys.argv[2]))) as tls:
        body = b"\\x03\\x03" + n.to_bytes(16, "big") * 2 + bytes(64)
        hello = b"\\x01" + len(body).to_bytes(3, "big") + body
        tls.send(b"\\x16\\x03\\x01" + len(hello).to_bytes(2, "big") + hello)
        for _ in range({PACKETS}):
            sock.send(bytes({PAYLOAD_LEN}))
sock.send(b"that was all")
print("sent", flush=True)
input()
"""


@pytest.fixture
def listener(space: Namespace) -> Iterator[int]:
    """Return a port where connections are accepted by the kernel."""
    with space.entered():
        sock = socket.socket()
    with sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(HELLOS)
        yield sock.getsockname()[1]


def test_the_loop_does_not_read_them(
    space: Namespace, listener: int, tmp_path: Path
) -> None:
    (tmp_path / "mapped").write_bytes(bytes(4096))
    words = (str(tmp_path / "mapped"), str(listener))
    with (
        subprocess.Popen(
            space.command(*python(TALKER), *words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as talker,
        running.engine(space, "lo", tls="own", label="short", ring_mib=16) as engine,
    ):
        assert talker.stdin
        assert talker.stdout
        assert talker.stdout.readline() == b"mapped\n"
        engine.wait_for('"tls_ready"')
        talker.stdin.write(b"\n")
        talker.stdin.flush()
        assert talker.stdout.readline() == b"sent\n"
        engine.end()
        talker.stdin.close()
    losses = [each for each in engine.events() if each["event"] == "lost"]
    assert losses == []
