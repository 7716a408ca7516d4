"""TLS of programs with s2n, captured live by tshark, and decrypted."""

import os

import pytest

from support.decrypting import READY, Seen, decrypting
from support.tls import TlsHost
from support.tlsclients import CLIENTS
from support.wireshark import Wireshark

PAGES = 20 if "TCCAP_TLS_MANY" in os.environ else 5
VERSIONS = ("1.2", "1.3")


def _pages(version: str) -> list[str]:
    return [f"s2n-{version}-{number}" for number in range(PAGES)]


@pytest.fixture(scope="module")
def seen(wireshark: Wireshark, tls_host: TlsHost) -> Seen:
    """Return what tshark shows. The server is not traced: all secrets are s2n's."""
    library = tls_host.program("awscrt")
    with decrypting(wireshark, tls_host.space, f"tlslibraries:{library}") as tshark:
        tshark.wait_for_log(READY)
        for version in VERSIONS:
            with tls_host.serving("python as nobody", version=version) as port:
                for page in _pages(version):
                    tls_host.get(CLIENTS["awscrt"], port, page)
        tshark.wait_for(_pages(VERSIONS[-1])[-1])
        return tshark.end()


@pytest.mark.same_everywhere
@pytest.mark.parametrize("version", VERSIONS)
def test_a_client(seen: Seen, version: str) -> None:
    assert seen.responses >= {*_pages(version)}
