"""TLS connections that pass through other processes of this host are decrypted."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import running
from support.decrypting import READY, Seen, decrypting
from support.tls import ADDRESS, TlsHost
from support.tlsclients import NOBODY
from support.wireshark import Wireshark

RUNS = 20
PORT = "5443"  # of the process that forwards
FORWARD = Path(__file__).parent.parent / "support" / "forward.py"


@contextlib.contextmanager
def started(host: TlsHost, *command: str, says: bytes) -> Iterator[None]:
    """Run a program that says when it is ready."""
    with subprocess.Popen(
        host.space.command(*command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=host.folder,
    ) as process:
        assert process.stdout
        try:
            while line := process.stdout.readline():
                if says in line:
                    break
            assert line, f"{command} has ended"
            yield
        finally:
            process.terminate()
            process.wait(running.DEADLINE_S)


@contextlib.contextmanager
def forwarding(
    host: TlsHost, listening: str, target: str, *user: str
) -> Iterator[None]:
    """Run a process that passes connections on."""
    script = host.folder / FORWARD.name
    script.write_text(FORWARD.read_text())
    python = ("/usr/bin/python3", str(script), listening, target)
    with started(host, *user, *python, says=b"up"):
        yield


def decrypted(
    wireshark: Wireshark, host: TlsHost, title: str, *client: str
) -> set[str]:
    """Fetch pages with a client; return those that tshark has shown."""

    def shown(seen: Seen) -> set[str]:
        # tshark shows no end of a response without a length, as of openssl's server.
        return seen.requests if "openssl" in title else seen.responses

    names = [f"{title}-{number}" for number in range(RUNS)]
    with decrypting(wireshark, host.space) as tshark:
        tshark.wait_for_log(READY)
        for name in names:
            command = host.space.command(*client, name)
            subprocess.run(command, check=True, capture_output=True, cwd=host.folder)
        running.until(lambda: names[-1] in shown(tshark.seen()), "the last page")
        return shown(tshark.end()) & {*names}


# The last word of each client is the page, which curl gets as a part of the URL.
def fetching(port: str | int, *options: str) -> tuple[str, ...]:
    script = f'exec curl -sk {" ".join(options)} "https://{ADDRESS}:{port}/$0"'
    return ("sh", "-c", script)


@pytest.mark.parametrize("user", [(), NOBODY], ids=["same user", "another user"])
def test_a_client_through_a_proxy(
    wireshark: Wireshark, tls_host: TlsHost, user: tuple[str, ...]
) -> None:
    with (
        tls_host.serving("python as nobody") as port,
        forwarding(tls_host, PORT, str(port), *user),
    ):
        found = decrypted(wireshark, tls_host, "proxy", *fetching(PORT))
    assert len(found) == RUNS


def test_a_client_that_reaches_its_proxy_by_a_unix_socket(
    wireshark: Wireshark, tls_host: TlsHost
) -> None:
    """So it is with every way that is not captured."""
    path = str(tls_host.folder / "proxy")
    with (
        tls_host.serving("python as nobody") as port,
        forwarding(tls_host, path, str(port)),
    ):
        client = fetching(port, f"--unix-socket {path}")
        found = decrypted(wireshark, tls_host, "unix", *client)
    assert len(found) == RUNS


def test_a_server_behind_a_unix_socket(wireshark: Wireshark, tls_host: TlsHost) -> None:
    socket = tls_host.folder / "socket"
    server = ("openssl", "s_server", "-www", "-cert", str(tls_host.certificate))
    with (
        started(tls_host, *server, "-unix", str(socket), says=b"ACCEPT"),
        forwarding(tls_host, PORT, str(socket)),
    ):
        client = (*NOBODY, *fetching(PORT))
        found = decrypted(wireshark, tls_host, "behind-openssl", *client)
    assert len(found) == RUNS
