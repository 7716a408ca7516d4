"""TLS of programs with rustls, captured live by tshark, and decrypted.

One end of each connection is not traced, so all secrets come from rustls.
"""

import os
from typing import NamedTuple

import pytest

from support.decrypting import READY, Seen, decrypting
from support.tls import TlsHost
from support.tlsclients import AS_NOBODY, CLIENTS
from support.wireshark import Wireshark

IS_WHOLE = "TCCAP_TLS_MANY" in os.environ  # make tls-matrix
PAGES = 20 if IS_WHOLE else 5


class Talk(NamedTuple):
    """A program with rustls, the server and its TLS version, and the client."""

    program: str
    server: str
    version: str
    client: tuple[str, ...]

    @property
    def pages(self) -> list[str]:
        """The names of the pages."""
        name = f"{self.program}-{self.server}-{self.version}".replace(" ", "-")
        return [f"{name}-{number}" for number in range(PAGES)]


def _of_client(client: str, version: str) -> Talk:
    return Talk(client, "nginx as nobody", version, CLIENTS[client])


def _of_server(server: str, version: str) -> Talk:
    curl = {"1.3": "curl", "1.2": "curl 1.2"}[version]
    return Talk(server, server, version, (*AS_NOBODY[curl], "--http1.1"))


VERSIONS = ("1.2", "1.3")
TALKS = [
    *(_of_client("httpr", version) for version in VERSIONS),
    _of_server("granian", "1.3"),
]
if IS_WHOLE:
    TALKS += [
        _of_client(client, version)
        for client in ("pyreqwest", "primp", "uv", "xh", "deno")
        for version in VERSIONS
    ]
    TALKS += [
        _of_server("granian", "1.2"),
        *(_of_server("deno", version) for version in VERSIONS),
    ]


@pytest.fixture(scope="module")
def seen(wireshark: Wireshark, tls_host: TlsHost) -> Seen:
    """Return what tshark shows of all pages."""
    libraries = {tls_host.program(talk.program) for talk in TALKS}
    named = f"tlslibraries:{','.join(libraries)}"
    with decrypting(wireshark, tls_host.space, named) as tshark:
        tshark.wait_for_log(READY)
        for talk in TALKS:
            with tls_host.serving(talk.server, version=talk.version) as port:
                for page in talk.pages:
                    tls_host.get(talk.client, port, page)
        tshark.wait_for(TALKS[-1].pages[-1])
        return tshark.end()


@pytest.mark.parametrize("talk", TALKS, ids=lambda talk: " ".join(talk[:3]))
def test_a_program_with_rustls(seen: Seen, talk: Talk) -> None:
    assert seen.responses >= {*talk.pages}
