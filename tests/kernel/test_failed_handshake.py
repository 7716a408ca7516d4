"""Packets of handshakes that fail, as the client does not trust the server."""

import subprocess

import pytest

from support import running, stream
from support.tls import ADDRESS, TlsHost

pytestmark = pytest.mark.full_matrix

ETHERNET_LEN, IP_LEN, TCP_FLAGS_AT = 14, 20, 13
FIN, RST = 0x01, 0x04
WAIT_MS = 10000
BEGIN_LEN = 20  # of an Enhanced Packet Block's body, before the frame


def test_they_are_not_late(tls_host: TlsHost) -> None:
    """Some secrets have come, so without its end it would wait for the others.

    Not a test of speed: a slow machine has the whole of that wait.
    """
    with (
        tls_host.serving("python", version="1.3") as port,
        running.engine(tls_host.space, "lo", tls="own", tls_wait_ms=WAIT_MS) as engine,
    ):
        engine.wait_for('"tls_ready"')
        fetch = ("curl", "-s", f"https://{ADDRESS}:{port}/")
        done = subprocess.run(tls_host.space.command(*fetch), check=False)
        assert done.returncode == 60  # CURLE_PEER_FAILED_VERIFICATION
        running.until(lambda: _has_ended(engine), "the end of the connection")
        engine.end()
        [counts] = [e for e in engine.events() if e["event"] == "tls_counts"]
    assert counts["counts"]["secrets"] > 0
    assert 0 < counts["counts"]["longest_wait_s"] < WAIT_MS / 1000


def _has_ended(engine: running.Engine) -> bool:
    """Return whether both sides have closed the connection, or one has reset it.

    curl resets it if something has come that it does not read any more.
    """
    assert engine.output
    at = BEGIN_LEN + ETHERNET_LEN + IP_LEN + TCP_FLAGS_AT
    whole = stream.whole_blocks(engine.output.so_far())
    bodies = [body for kind, body in stream.blocks(whole) if kind == stream.EPB]
    flags = [body[at] for body in bodies]
    return any(f & RST for f in flags) or sum(f & FIN for f in flags) >= 2
