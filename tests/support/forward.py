"""Passes on what TCP connections and Unix sockets send; prints "up" when it does.

Arguments: where it listens, and where it connects to: a port of 127.0.0.1, or a path.
It loads no TLS library, as asyncio would.
"""

import contextlib
import socket
import sys
import threading


def _socket(place: str) -> tuple[socket.socket, "str | tuple[str, int]"]:
    if "/" in place:
        return socket.socket(socket.AF_UNIX), place
    return socket.socket(), ("127.0.0.1", int(place))


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while content := source.recv(1 << 16):
            target.sendall(content)
        target.shutdown(socket.SHUT_WR)


def _serve(near: socket.socket, target: str) -> None:
    far, address = _socket(target)
    far.connect(address)
    back = threading.Thread(target=_copy, args=(far, near))
    back.start()
    _copy(near, far)
    back.join()
    near.close()
    far.close()


def main(listening: str, target: str) -> None:
    """Serve until killed."""
    listener, address = _socket(listening)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    listener.listen()
    sys.stdout.write("up\n")
    sys.stdout.flush()
    while True:
        near, _ = listener.accept()
        threading.Thread(target=_serve, args=(near, target), daemon=True).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
