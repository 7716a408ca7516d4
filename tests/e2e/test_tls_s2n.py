"""TLS of programs with s2n, captured live by tshark, and decrypted."""

import os

import pytest

from support.decrypting import READY, decrypting
from support.tls import TlsHost
from support.tlsclients import CLIENTS
from support.wireshark import Wireshark

PAGES = 20 if "TCCAP_TLS_MANY" in os.environ else 5


@pytest.mark.same_everywhere
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_client(wireshark: Wireshark, tls_host: TlsHost, version: str) -> None:
    """The server is not traced, so all secrets come from s2n."""
    pages = [f"s2n-{version}-{number}" for number in range(PAGES)]
    library = tls_host.program("awscrt")
    with (
        tls_host.serving("python as nobody", version=version) as port,
        decrypting(wireshark, tls_host.space, f"tlslibraries:{library}") as tshark,
    ):
        tshark.wait_for_log(READY)
        for page in pages:
            tls_host.get(CLIENTS["awscrt"], port, page)
        tshark.wait_for(pages[-1])
        assert tshark.end().responses >= {*pages}
