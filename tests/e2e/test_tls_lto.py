"""TLS of distributions' builds with link-time optimisation, live and decrypted.

One end of each connection is not traced, so all secrets come from the other one.
"""

import os
import shutil

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
pytestmark = [
    pytest.mark.same_everywhere,
    pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed"),
]


@pytest.mark.parametrize(
    ("server", "client", "version"),
    [
        ("python as nobody", "almalinux", "1.3"),
        *(
            pytest.param(*talk, marks=whole)
            for talk in (
                ("python as nobody", "almalinux", "1.2"),
                ("almalinux", "python", "1.2"),
                ("almalinux", "python", "1.3"),
                ("python as nobody", "amazonlinux", "1.2"),
                ("python as nobody", "amazonlinux", "1.3"),
                ("amazonlinux", "python", "1.2"),
                ("amazonlinux", "python", "1.3"),
            )
        ),
    ],
)
def test_a_library_of_a_distribution(
    wireshark: Wireshark, tls_host: TlsHost, server: str, client: str, version: str
) -> None:
    is_server = client == "python"
    library = tls_host.program(server if is_server else client)
    command = AS_NOBODY[client] if is_server else CLIENTS[client]
    pages = [f"{server}-{client}-{version}-{n}".replace(" ", "-") for n in range(PAGES)]
    with (
        tls_host.serving(server, version=version) as port,
        decrypting(wireshark, tls_host.space, f"tlslibraries:{library}") as tshark,
    ):
        tshark.wait_for_log(READY)
        for page in pages:
            tls_host.get(command, port, page)
        tshark.wait_for(pages[-1])
        assert tshark.end().responses >= {*pages}
