"""DTLS of real programs, captured live by tshark, and decrypted in its first pass."""

import contextlib
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from support import running
from support.decrypting import READY, Decrypting, decrypting
from support.tls import ADDRESS, PATH, TlsHost
from support.tlsclients import NOBODY
from support.wireshark import Wireshark

pytestmark = pytest.mark.same_everywhere

EACH = 2


class Library(NamedTuple):
    """Commands of a server and a client, and what the server says when it listens."""

    server: tuple[str, ...]
    listens: bytes
    client: tuple[str, ...]


LIBRARIES = {
    "OpenSSL": Library(
        (
            *("openssl", "s_server", "-dtls", "-accept", "{PORT}"),
            *("-cert", "certificate.pem", "-key", "certificate.pem"),
        ),
        b"ACCEPT",
        ("openssl", "s_client", "-dtls", "-connect", "{ADDRESS}:{PORT}"),
    ),
    "GnuTLS": Library(
        (
            *("gnutls-serv", "--udp", "--echo", "--port", "{PORT}"),
            *("--x509certfile", "certificate.pem", "--x509keyfile", "certificate.pem"),
        ),
        b"...done",
        ("gnutls-cli", "--udp", "--insecure", "--port", "{PORT}", "{ADDRESS}"),
    ),
}
# Which ends belong to somebody who is not traced.
NOT_TRACED = {"both sides": (), "client side": ("server",), "server side": ("client",)}
ROWS = [(library, sides) for library in LIBRARIES for sides in NOT_TRACED]


def _names(library: str, sides: str) -> list[str]:
    title = f"{library}-{sides}".replace(" ", "-")
    return [f"{title}-{number}" for number in range(EACH)]


@contextlib.contextmanager
def _run(
    host: TlsHost, command: tuple[str, ...], words: dict[str, str]
) -> Iterator["subprocess.Popen[bytes]"]:
    filled = [word.format(**words) for word in command]
    with subprocess.Popen(
        host.space.command(*filled),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=host.folder,
        env={"PATH": PATH},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _talk(tshark: Decrypting, host: TlsHost, row: tuple[str, str], name: str) -> None:
    """Send a name to a server; return when tshark has shown it."""
    server, listens, client = LIBRARIES[row[0]]
    words = {"PORT": str(host.free_port()), "ADDRESS": ADDRESS}
    users = dict.fromkeys(NOT_TRACED[row[1]], NOBODY)
    with _run(host, (*users.get("server", ()), *server), words) as at_server:
        assert at_server.stdout
        running.Collector(at_server.stdout).wait_for(listens)
        with _run(host, (*users.get("client", ()), *client), words) as at_client:
            assert at_client.stdin
            at_client.stdin.write(f"the body of /{name};\n".encode())
            at_client.stdin.flush()
            tshark.wait_for(name)


def test_all_connections_are_decrypted(wireshark: Wireshark, tls_host: TlsHost) -> None:
    with decrypting(wireshark, tls_host.space) as tshark:
        tshark.wait_for_log(READY)
        for row in ROWS:
            for name in _names(*row):
                _talk(tshark, tls_host, row, name)
        seen = tshark.end()
        assert tshark.captures.left() == []
    assert seen.responses >= {name for row in ROWS for name in _names(*row)}
    counts = tshark.counts
    assert counts["with_secrets"] == counts["connections"] == len(ROWS) * EACH
    assert counts["timed_out"] == counts["evicted"] == 0
