"""Many connections, each of a process of its own: how many are decrypted.

In the whole matrix (make tls-matrix) these are more, and of more libraries.
"""

import os

import pytest

from support.decrypting import READY, decrypting
from support.tls import World
from support.wireshark import Wireshark

MANY = int(os.environ.get("TCCAP_TLS_MANY", "20"))
PROGRAMS = {"OpenSSL": "curl", "GnuTLS": "wget", "NSS": "tstclnt"}
OWN = {"Go": "go", "node": "node", "BoringSSL": "curl_cffi"}
if "TCCAP_TLS_MANY" in os.environ:
    PROGRAMS |= OWN


@pytest.mark.parametrize("library", PROGRAMS)
def test_many(
    wireshark: Wireshark,
    world: World,
    library: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    program = PROGRAMS[library]
    named = [f"tlslibraries:{world.program(program)}"] if library in OWN else []
    names = [f"{library}-{number}" for number in range(MANY)]
    with (
        world.serving("python as nobody") as port,
        decrypting(wireshark, world.space, *named) as tshark,
    ):
        tshark.wait_for_log(READY)
        for name in names:
            world.fetch(program, port, name)
        tshark.wait_for(names[-1])
        decrypted = tshark.end().responses & {*names}
    with capsys.disabled():
        print(  # noqa: T201  # a figure to read
            f"\n{library}: {len(decrypted)} of {MANY} connections decrypted;",
            tshark.waits(),
        )
    assert len(decrypted) >= 0.99 * MANY
