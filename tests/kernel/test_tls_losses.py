"""Secrets that are lost are counted apart from packets, and a sentence says so."""

import os
import signal
import socket

from support import running
from support.flood import flood
from support.tls import ADDRESS, TlsHost

PAYLOAD_LEN, PACKETS = 1400, 4000  # several times what the ring holds


def test_secrets_that_find_no_room_in_the_ring(tls_host: TlsHost) -> None:
    with (
        tls_host.serving("python") as port,
        running.engine(tls_host.space, "lo", tls="own", ring_mib=1) as engine,
    ):
        engine.wait_for('"tls_ready"')
        carrier = running.carrier(engine.process.pid)
        os.kill(carrier, signal.SIGSTOP)
        try:
            _fill_ring(tls_host)
            tls_host.fetch("curl", port, "lost")
        finally:
            os.kill(carrier, signal.SIGCONT)
        engine.end()
    [counts] = [e["counts"] for e in engine.events() if e["event"] == "tls_counts"]
    assert counts["lost_ring_full"] > 0
    assert counts["lost_unreadable"] == counts["lost_table_full"] == 0
    [warning] = [e for e in engine.events() if "secrets were" in e.get("message", "")]
    assert "try a larger ring-size" in warning["message"]


def _fill_ring(tls_host: TlsHost) -> None:
    with (
        tls_host.space.entered(),
        socket.socket(type=socket.SOCK_DGRAM) as sink,
        socket.socket(type=socket.SOCK_DGRAM) as sock,
    ):
        sink.bind((ADDRESS, 0))
        sock.connect(sink.getsockname())
        flood(sock, PAYLOAD_LEN, PACKETS)
