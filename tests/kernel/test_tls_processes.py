"""Which processes can be decrypted: `tccap tls list`, and the log of a capture."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import netns, running
from tccap.paths import SCRIPT, engine_python

pytestmark = pytest.mark.full_matrix

SEND_HELLO = """
import ctypes, socket, sys
ctypes.CDLL(sys.argv[1])
hello = b"\\1\\0\\0\\x7c\\3\\3" + bytes(range(122))
with socket.socket() as listener:
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    with socket.create_connection(listener.getsockname()) as sock:
        sock.sendall(b"\\x16\\3\\1\\0\\x80" + hello)
        print("sent", flush=True)
        sys.stdin.read()
"""
WITHOUT_SOCKETS = "import sys; print('sent', flush=True); sys.stdin.read()"
USE_OPENSSL = "import ssl, sys; print('sent', flush=True); sys.stdin.read()"


@pytest.fixture
def wolfssl(tmp_path: Path) -> Path:
    """Return a library that has the name of wolfSSL."""
    [some] = Path("/usr/lib").glob("*/libz.so.1")
    return Path(shutil.copy(some, tmp_path / "libwolfssl.so.42"))


@contextlib.contextmanager
def staying(*command: str | Path) -> Iterator[int]:
    """Run a Python script until the block ends; yield its pid when it has printed."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"sent\n"
        yield process.pid


def listed() -> dict[int, list[str]]:
    """Return the lines of `tccap tls list` by pid."""
    command = [engine_python(), "-I", SCRIPT, "tls", "list"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[int, list[str]] = {}
    for line in done.stdout.splitlines()[1:]:
        found.setdefault(int(line.split()[0]), []).append(line)
    return found


def test_the_list_says_what_can_be_decrypted_and_what_not(wolfssl: Path) -> None:
    with (
        staying("/usr/bin/python3", "-c", USE_OPENSSL) as readable,
        staying("/usr/bin/python3", "-c", SEND_HELLO, wolfssl) as refused,
        staying("/usr/bin/python3", "-c", SEND_HELLO, "libz.so.1") as plain,
        staying("/usr/bin/python3", "-c", WITHOUT_SOCKETS) as silent,
    ):
        found = listed()
    [line] = found[readable]
    assert "yes: OpenSSL in /" in line
    [line] = found[refused]
    assert "no: it uses wolfSSL, which cannot be read" in line
    [line] = found[plain]
    assert "no: it runs Python, where TLS that is written in Python itself" in line
    assert silent not in found


def test_the_log_names_the_library_of_a_process_that_speaks_tls(wolfssl: Path) -> None:
    with (
        netns.namespace() as space,
        running.engine(space, "lo", tls="own", label="short") as engine,
    ):
        engine.wait_for('"tls_ready"')
        command = space.command("/usr/bin/python3", "-c", SEND_HELLO, str(wolfssl))
        with staying(*command):
            engine.wait_for("it uses wolfSSL, which cannot be read")
        engine.end()
    [warning] = [e for e in engine.events() if "wolfSSL" in e.get("message", "")]
    assert warning["level"] == "warning"
