"""The share of many connections, each of its own process, that is decrypted.

The whole matrix (make tls-matrix) makes more of them, with more libraries.
"""

import os

import pytest

from support.decrypting import READY, decrypting
from support.tls import TlsHost
from support.wireshark import Wireshark

MANY = int(os.environ.get("TCCAP_TLS_MANY", "20"))
PROGRAMS = {"OpenSSL": "curl", "GnuTLS": "wget", "NSS": "tstclnt"}
OWN = {"Go": "go", "node": "node", "BoringSSL": "curl_cffi"}
if "TCCAP_TLS_MANY" in os.environ:
    PROGRAMS |= OWN


@pytest.mark.parametrize("library", PROGRAMS)
def test_many(
    wireshark: Wireshark,
    tls_host: TlsHost,
    library: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    program = PROGRAMS[library]
    named = [f"tlslibraries:{tls_host.program(program)}"] if library in OWN else []
    names = [f"{library}-{number}" for number in range(MANY)]
    with (
        tls_host.serving("python as nobody") as port,
        decrypting(wireshark, tls_host.space, *named) as tshark,
    ):
        tshark.wait_for_log(READY)
        for name in names:
            tls_host.fetch(program, port, name)
        tshark.wait_for(names[-1])
        decrypted = tshark.end().responses & {*names}
    with capsys.disabled():
        print(  # noqa: T201  # a figure to read
            f"\n{library}: {len(decrypted)} of {MANY} connections decrypted;",
            tshark.waits(),
        )
    assert len(decrypted) >= 0.99 * MANY
