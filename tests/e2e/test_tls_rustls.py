"""TLS of programs with rustls, captured live by tshark, and decrypted.

One end of each connection is not traced, so all secrets come from rustls.
"""

import os

import pytest

from support.decrypting import READY, decrypting
from support.tls import TlsHost
from support.tlsclients import AS_NOBODY, CLIENTS
from support.wireshark import Wireshark

PAGES = 20 if "TCCAP_TLS_MANY" in os.environ else 5
whole = pytest.mark.skipif(
    "TCCAP_TLS_MANY" not in os.environ,
    reason="only in the whole matrix: make tls-matrix",
)


def check(
    wireshark: Wireshark,
    host: TlsHost,
    program: str,
    talk: tuple[str, str, tuple[str, ...]],
) -> None:
    """Fetch pages; all must be shown. A talk is server, TLS version, and client."""
    server, version, client = talk
    name = f"{program}-{version}".replace(" ", "-")
    pages = [f"{name}-{number}" for number in range(PAGES)]
    library = host.program(program)
    with (
        host.serving(server, version=version) as port,
        decrypting(wireshark, host.space, f"tlslibraries:{library}") as tshark,
    ):
        tshark.wait_for_log(READY)
        for page in pages:
            host.get(client, port, page)
        tshark.wait_for(pages[-1])
        assert tshark.end().responses >= {*pages}


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize(
    "client",
    [
        "httpr",
        *(pytest.param(c, marks=whole) for c in ("pyreqwest", "primp", "uv", "xh")),
        pytest.param("deno", marks=whole),
    ],
)
def test_a_client(
    wireshark: Wireshark, tls_host: TlsHost, client: str, version: str
) -> None:
    talk = ("nginx as nobody", version, CLIENTS[client])
    check(wireshark, tls_host, client, talk)


@pytest.mark.parametrize(
    ("server", "client"),
    [
        ("granian", "curl"),
        pytest.param("granian", "curl 1.2", marks=whole),
        pytest.param("deno", "curl", marks=whole),
        pytest.param("deno", "curl 1.2", marks=whole),
    ],
)
def test_a_server(
    wireshark: Wireshark, tls_host: TlsHost, server: str, client: str
) -> None:
    command = (*AS_NOBODY[client], "--http1.1")
    check(wireshark, tls_host, server, (server, client, command))
