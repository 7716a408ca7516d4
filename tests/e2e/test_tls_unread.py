"""Programs whose TLS is not read: what the log and `tccap tls list` say of each."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import running, unreadable
from support.running import Engine
from support.tls import TlsHost
from tccap.paths import SCRIPT, engine_python

pytestmark = pytest.mark.same_everywhere

NOTHING_YET = "there is no way yet, unless the program itself can write a key log."
BY_AGENT = (
    "let a Java agent write a key log, and name it in the option keylog-file "
    "(docs/recipes.md)."
)
WARY_CLIENT = """
import socket, ssl, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as sock:
    stays = sock.dup() if sys.argv[2:] else None
    try:
        ssl.create_default_context().wrap_socket(sock, server_hostname="127.0.0.1")
    except ssl.SSLCertVerificationError:
        print("sent", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def port(tls_host: TlsHost) -> Iterator[int]:
    """Yield the port of a server that is not traced."""
    with tls_host.serving("python as nobody", version="1.2") as port:
        yield port


@pytest.fixture(scope="module")
def capture(tls_host: TlsHost, port: int) -> Iterator[Engine]:
    del port  # listens before
    with running.engine(tls_host.space, "lo", tls="own", label="short") as engine:
        engine.wait_for('"tls_ready"')
        yield engine
        engine.end()


@contextlib.contextmanager
def connected(
    host: TlsHost, port: int, command: tuple[str, ...], *arguments: str
) -> Iterator[int]:
    """Yield the pid of a program that has made a connection, and runs on."""
    with subprocess.Popen(
        host.space.command(*command, str(port), *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"sent\n"
        yield process.pid


def of_process(pid: int) -> list[str]:
    """Return the lines of `tccap tls list` about a process."""
    command = [engine_python(), "-I", SCRIPT, "tls", "list"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [line for line in done.stdout.splitlines() if line.split()[0] == str(pid)]


def warning_about(capture: Engine, pid: int) -> str:
    """Wait for the warning about a process; return it. There is one."""
    capture.wait_for(f"(pid {pid})")
    named = [e for e in capture.events() if f"(pid {pid})" in e.get("message", "")]
    [event] = named
    assert event["level"] == "warning"
    return str(event["message"])


def check(capture: Engine, pid: int, reason: str) -> None:
    [line] = of_process(pid)
    assert line.endswith(f" no: {reason}")
    message = warning_about(capture, pid)
    assert message.startswith("TLS: no secrets from /")
    assert message.endswith(f" (pid {pid}): {reason}")


@pytest.mark.parametrize("statically", [False, True], ids=["shared", "static"])
@pytest.mark.parametrize("library", ["mbedTLS", "wolfSSL", "BearSSL"])
def test_a_library_of_c_is_named(
    tls_host: TlsHost, port: int, capture: Engine, library: str, *, statically: bool
) -> None:
    command = unreadable.in_c(library, tls_host.folder, links_statically=statically)
    with connected(tls_host, port, command) as pid:
        reason = f"it uses {library}, which cannot be read: {NOTHING_YET}"
        check(capture, pid, reason)


def test_java_is_named(tls_host: TlsHost, port: int, capture: Engine) -> None:
    with connected(tls_host, port, unreadable.in_java()) as pid:
        reason = f"it runs Java, whose own TLS cannot be read: {BY_AGENT}"
        check(capture, pid, reason)


def test_tls_beside_a_library_that_is_read(
    tls_host: TlsHost, port: int, capture: Engine
) -> None:
    """TLS written in Python, in a process that has loaded OpenSSL, too."""
    with connected(tls_host, port, unreadable.in_python(tls_host.folder)) as pid:
        message = warning_about(capture, pid)
        [line] = of_process(pid)
    assert "yes: OpenSSL in /" in line
    check_beside(pid, message)


def test_a_short_connection_beside_a_library_that_is_read(
    tls_host: TlsHost, port: int, capture: Engine
) -> None:
    command = unreadable.in_python(tls_host.folder)
    with connected(tls_host, port, command, "closes") as pid:
        check_beside(pid, warning_about(capture, pid))


def check_beside(pid: int, message: str) -> None:
    _, _, reason = message.partition(f" (pid {pid}), although OpenSSL in it is read; ")
    assert message.startswith("TLS: no secrets for a connection of /usr/bin/python3")
    assert reason == (
        "perhaps it runs Python, where TLS that is written in Python itself cannot be "
        f"read: {NOTHING_YET}"
    )


@pytest.mark.parametrize("stays", [(), ("stays",)], ids=["closed", "stays"])
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_failed_handshake_is_nobodys_fault(
    tls_host: TlsHost, port: int, capture: Engine, version: str, stays: tuple[str, ...]
) -> None:
    """The client has a library that is read, and does not trust the server."""
    wary = ("/usr/bin/python3", "-c", WARY_CLIENT)
    in_python = unreadable.in_python(tls_host.folder)
    with (
        tls_host.serving("python as nobody", version=version) as its_port,
        connected(tls_host, its_port, wary, *stays) as pid,
    ):
        # Its connection begins later, and waits for longer.
        with connected(tls_host, port, in_python) as other:
            warning_about(capture, other)
        assert not any(f"(pid {pid})" in str(event) for event in capture.events())


def test_wireshark_gets_no_warning(capture: Engine) -> None:
    """Its library holds the labels of key logs, to read them."""
    [library] = Path("/usr/lib").glob("*/libwireshark.so.*.*.*")
    assert not any(library.name in str(event) for event in capture.events())
