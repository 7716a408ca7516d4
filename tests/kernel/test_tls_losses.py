"""Secrets that are lost are counted apart from packets, and a sentence says so."""

import os
import signal
import socket
import struct

import pytest

from support import running
from support.tls import ADDRESS, TlsHost

HELLOS, HELLO_LEN = 4000, 64  # nearly twice what finds room


@pytest.mark.same_everywhere
def test_secrets_that_find_no_room(tls_host: TlsHost) -> None:
    with (
        tls_host.serving("python") as port,
        running.engine(tls_host.space, "lo", tls="own", ring_mib=1) as engine,
    ):
        engine.wait_for('"tls_ready"')
        carrier = running.carrier(engine.process.pid)
        os.kill(carrier, signal.SIGSTOP)
        try:
            _fill_messages(tls_host)
            tls_host.fetch("curl", port, "lost")
        finally:
            os.kill(carrier, signal.SIGCONT)
        engine.end()
    [counts] = [e["counts"] for e in engine.events() if e["event"] == "tls_counts"]
    assert counts["lost_ring_full"] > 0
    assert counts["lost_unreadable"] == counts["lost_table_full"] == 0
    [warning] = [e for e in engine.events() if "secrets were" in e.get("message", "")]
    assert "try a larger ring-size" in warning["message"]


def _fill_messages(tls_host: TlsHost) -> None:
    """Begin one connection after the other; each is a message to the carrier."""
    with tls_host.space.entered(), socket.create_server((ADDRESS, 0)) as server:
        client = socket.create_connection(server.getsockname())
        peer, _ = server.accept()
    with client, peer:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(HELLOS):
            client.sendall(_hello(number))
            peer.recv(HELLO_LEN, socket.MSG_WAITALL)


def _hello(number: int) -> bytes:
    """Return the start of a ClientHello, with a client random of its own."""
    record, handshake = bytes.fromhex("1603010200"), bytes.fromhex("010001fc0303")
    return (record + handshake + struct.pack("!QQ", 0, number)).ljust(HELLO_LEN)
