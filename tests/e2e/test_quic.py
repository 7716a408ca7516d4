"""HTTP/3 of real programs, captured live by tshark, and decrypted in its first pass.

A connection counts as decrypted if tshark shows the page that it has fetched. The long
form (make quic-matrix) makes more of them with each library.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from support.decrypting import READY, Decrypting, decrypting
from support.http3 import Http3Host
from support.tls import TlsHost
from support.tlsclients import NOBODY
from support.wireshark import Wireshark

EACH = 2
MANY = int(os.environ.get("TCCAP_QUIC_MANY", "0"))


class Exchange(NamedTuple):
    """Some connections: their programs, and which of them are of another user."""

    server: str
    client: str
    theirs: frozenset[str] = frozenset()
    server_options: tuple[str, ...] = ()
    client_options: tuple[str, ...] = ()
    decrypted: bool = True
    migrates: bool = False


SERVER, CLIENT = frozenset({"server"}), frozenset({"client"})
GNUTLS = Exchange("gtlsserver", "gtlsclient")
EXCHANGES = {
    "Go and BoringSSL": Exchange("caddy", "curl_cffi"),
    "GnuTLS": GNUTLS,
    "client side only, BoringSSL": Exchange("caddy", "curl_cffi", SERVER),
    "client side only, GnuTLS": GNUTLS._replace(theirs=SERVER),
    "server side only, Go": Exchange("caddy", "curl_cffi", CLIENT),
    "server side only, GnuTLS": GNUTLS._replace(theirs=CLIENT),
    "somebody else's": GNUTLS._replace(theirs=SERVER | CLIENT, decrypted=False),
    "Retry": GNUTLS._replace(theirs=SERVER, server_options=("-V",)),
    "0-RTT": GNUTLS._replace(
        theirs=SERVER, client_options=("--session-file=session", "--tp-file=parameters")
    ),
    "connection migration": GNUTLS._replace(
        migrates=True, client_options=("--change-local-addr=1ms", "--delay-stream=50ms")
    ),
    "NAT rebinding": GNUTLS._replace(
        migrates=True,
        client_options=(
            *("--nat-rebinding", "--change-local-addr=1ms", "--delay-stream=50ms"),
        ),
    ),
}


@pytest.fixture(scope="module")
def http3_host(tls_host: TlsHost) -> Http3Host:
    """Return HTTP/3 servers and clients in the namespace of the TLS ones."""
    return Http3Host(tls_host)


def _names(title: str, count: int = EACH) -> list[str]:
    word = "".join(c for c in title.replace(" ", "-") if c not in "',")
    return [f"{word}-{number}" for number in range(count)]


def _exchange(host: Http3Host, exchange: Exchange, names: list[str]) -> None:
    host.add_pages(*names)
    users = [NOBODY if end in exchange.theirs else () for end in ("server", "client")]
    server = (exchange.server, *exchange.server_options)
    with host.serving(*server, as_user=users[0]) as port:
        options = exchange.client_options
        host.get(exchange.client, port, *names, options=options, as_user=users[1])


@contextlib.contextmanager
def _decrypting(
    wireshark: Wireshark, tls_host: TlsHost, http3_host: Http3Host
) -> Iterator[Decrypting]:
    """Yield a tshark that reads secrets from all programs of this module."""
    programs = (tls_host.program("curl_cffi"), http3_host.program("caddy"))
    named = f"tlslibraries:{','.join(programs)}"
    with decrypting(wireshark, tls_host.space, named) as tshark:
        tshark.wait_for_log(READY)
        yield tshark


@pytest.fixture(scope="module")
def tshark(
    wireshark: Wireshark, tls_host: TlsHost, http3_host: Http3Host
) -> Decrypting:
    """Return a tshark that has captured all exchanges, and has ended."""
    with _decrypting(wireshark, tls_host, http3_host) as tshark:
        for title, exchange in EXCHANGES.items():
            _exchange(http3_host, exchange, _names(title))
        _exchange(http3_host, GNUTLS, ["the-last"])
        tshark.wait_for("the-last")
        tshark.end()
        assert tshark.captures.left() == []
    return tshark


@pytest.mark.parametrize("title", EXCHANGES)
def test_exchange(tshark: Decrypting, title: str) -> None:
    exchange, names = EXCHANGES[title], {*_names(title)}
    shown = tshark.seen().responses & names
    # Wireshark 4.0 does not follow all connections that migrate; 4.6 does.
    if not exchange.migrates:
        assert shown == (names if exchange.decrypted else set()), tshark.counts


def test_all_secrets_were_found(tshark: Decrypting) -> None:
    counts = tshark.counts
    own = [each for each in EXCHANGES.values() if each.decrypted]
    assert counts["with_secrets"] == EACH * len(own) + 1
    assert counts["evicted"] == counts["refused"] == 0
    assert counts["held"] > 0


LIBRARIES = {
    "Go": EXCHANGES["server side only, Go"],
    "BoringSSL": EXCHANGES["client side only, BoringSSL"],
    "GnuTLS": EXCHANGES["client side only, GnuTLS"],
}


@pytest.mark.skipif(not MANY, reason="only in: make quic-matrix")
@pytest.mark.parametrize("library", LIBRARIES)
def test_many(
    wireshark: Wireshark, tls_host: TlsHost, http3_host: Http3Host, library: str
) -> None:
    names = _names(library, MANY)
    with _decrypting(wireshark, tls_host, http3_host) as tshark:
        _exchange(http3_host, LIBRARIES[library], names)
        _exchange(http3_host, GNUTLS, ["the-last"])
        tshark.wait_for("the-last")
        decrypted = tshark.end().responses & {*names}
    shown = f"{len(decrypted)} of {MANY} connections decrypted; {tshark.waits()}"
    print(f"\n{library}: {shown}")  # noqa: T201  # a figure to read
    assert len(decrypted) >= 0.99 * MANY
