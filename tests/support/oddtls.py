"""TLS whose ClientHello does not begin its segment, or is in small pieces.

    oddtls.py server PORT CERTIFICATE    prints "up", and serves until it is killed
    oddtls.py client PORT VERSION KIND NAME

The server ignores a PROXY header of version 1. The client gets a page; its ClientHello
is of one of KINDS.
"""

import socket
import ssl
import sys
from collections.abc import Callable, Iterator

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_HEADER = b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"
_RECORD_HEADER_LEN = 5


def _behind_a_header(record: bytes) -> Iterator[bytes]:
    yield _HEADER + record


def _in_small_segments(record: bytes) -> Iterator[bytes]:
    yield from (record[:5], record[5:30], record[30:])


def _in_small_records(record: bytes) -> Iterator[bytes]:
    hello = record[_RECORD_HEADER_LEN:]
    pieces = (hello[:20], hello[20:100], hello[100:])
    yield b"".join(record[:3] + len(p).to_bytes(2, "big") + p for p in pieces)


KINDS: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "proxied": _behind_a_header,
    "segments": _in_small_segments,
    "records": _in_small_records,
}


class Client:
    """A TLS connection that sends its first record in its own way."""

    def __init__(self, port: int, version: str, kind: str) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = VERSIONS[version]
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out)
        self._kind = kind
        self._has_begun = False

    def get(self, name: str) -> bytes:
        """Get a page; return what the server sends."""
        self._until_done(self._tls.do_handshake)
        request = f"GET /{name} HTTP/1.1\r\nHost: here\r\n\r\n".encode()
        self._until_done(lambda: self._tls.write(request))
        found = b""
        while part := self._until_done(lambda: self._tls.read(1 << 16)):
            found += part
        return found

    def _until_done(self, act: Callable[[], object]) -> bytes:
        """Do something on the connection; return its result, if that is bytes."""
        while True:
            try:
                result = act()
            except ssl.SSLWantReadError:
                self._send()
                self._in.write(self._socket.recv(1 << 16))
            else:
                self._send()
                return result if isinstance(result, bytes) else b""

    def _send(self) -> None:
        data = self._out.read()
        pieces = [data] if self._has_begun else KINDS[self._kind](data)
        self._has_begun = True
        for piece in pieces:
            self._socket.sendall(piece)


def _serve(port: int, certificate: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", port)) as listener:
        sys.stdout.write("up\n")
        sys.stdout.flush()
        while True:
            connection, _ = listener.accept()
            if connection.recv(1, socket.MSG_PEEK) == _HEADER[:1]:
                connection.recv(len(_HEADER), socket.MSG_WAITALL)
            with context.wrap_socket(connection, server_side=True) as tls:
                tls.recv(1 << 16)
                body = b"Content-Length: 8\r\n\r\nthe body"
                tls.sendall(b"HTTP/1.1 200 OK\r\n" + body)
                tls.unwrap()


if __name__ == "__main__":
    what, port, *rest = sys.argv[1:]
    if what == "server":
        _serve(int(port), *rest)
    else:
        version, kind, name = rest
        page = Client(int(port), version, kind).get(name)
        sys.stdout.write(page.decode())
