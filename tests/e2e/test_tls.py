"""TLS of real programs, captured live by tshark, and decrypted in its first pass.

Each exchange fetches a page with its own name. It counts as decrypted if tshark shows
request and response as HTTP.
"""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from support import running
from support.decrypting import READY, Decrypting, decrypting
from support.tls import TlsHost
from support.tlsclients import AS_NOBODY, CLIENTS, NOBODY
from support.wireshark import Wireshark


class Exchange(NamedTuple):
    """One request: its server, TLS version and client.

    tshark does not show a response without a length (as of NSS's selfserv) as HTTP,
    only its segments: then ``shown`` is the request alone.
    """

    server: str
    version: str
    client: tuple[str, ...]
    decrypted: bool = True
    shown: tuple[str, ...] = ("request", "response")


EXCHANGES = {
    **{
        f"{client} of {server} {version}": Exchange(server, version, CLIENTS[client])
        for server in ("python", "nginx")
        for version in ("1.2", "1.3")
        for client in ("curl", "python", "openssl", "wget", "gnutls-cli", "tstclnt")
    },
    "client side only": Exchange("python as nobody", "1.3", CLIENTS["curl"]),
    "client side only 1.2": Exchange("python as nobody", "1.2", CLIENTS["curl"]),
    "server side only": Exchange("python", "1.3", AS_NOBODY["curl"]),
    **{
        f"server side only, NSS {version}": Exchange(
            *("selfserv", version, AS_NOBODY["curl with a header"]), shown=("request",)
        )
        for version in ("1.2", "1.3")
    },
    "server side only 1.2": Exchange("python", "1.2", AS_NOBODY["curl"]),
    "somebody else's": Exchange("python as nobody", "1.3", AS_NOBODY["curl"], False),
}


def _name(title: str) -> str:
    return "".join(c for c in title.replace(" ", "-") if c not in "',")


# Answers the ServerHello after a while, as a client on the other side of the world.
SLOW_CLIENT = """
import socket, ssl, sys, time
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
came, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
session = tls.wrap_bio(came, sent)
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))

def step(call, *words):
    while True:
        try:
            return call(*words)
        except ssl.SSLWantReadError:
            connection.sendall(sent.read())
            came.write(connection.recv(65536))
            time.sleep(1)

step(session.do_handshake)
step(session.write, f"GET /{sys.argv[3]} HTTP/1.0\\r\\n\\r\\n".encode())
connection.sendall(sent.read())
sys.stdout.buffer.write(step(session.read, 65536))
sys.stdout.buffer.write(step(session.read, 65536))
"""


# Again and again it lets go of the page that holds the labels of libssl.
FORGETFUL_CLIENT = """
import ctypes, re, ssl, sys, threading, urllib.request

MADV_DONTNEED, PAGE = 4, 4096
libc = ctypes.CDLL(None)
pages = set()
for line in open("/proc/self/maps"):
    if re.search(r" r--p .*/libssl\\.so", line):
        start, end = (int(part, 16) for part in line.split()[0].split("-"))
        content = ctypes.string_at(start, end - start)
        found = re.finditer(b"CLIENT_RANDOM", content)
        pages |= {start + match.start() & -PAGE for match in found}
assert pages

def forget():
    while True:
        for page in pages:
            libc.madvise(ctypes.c_void_p(page), PAGE, MADV_DONTNEED)

for _ in range(2):
    threading.Thread(target=forget, daemon=True).start()
sys.setswitchinterval(1e-6)
context = ssl._create_unverified_context()
print(urllib.request.urlopen(sys.argv[1], context=context).read())
"""


# It names another place for NSS's handles of keys.
MISLEADING = "long PK11_GetSymKeyHandle(char *k) { return *(long *)(k + 24); }"
FORGOTTEN = {f"forgotten-{number}" for number in range(20)}


@contextlib.contextmanager
def _misleading(host: TlsHost) -> Iterator[str]:
    """Run a program with a library that says something wrong; yield its file."""
    library = str(host.folder / "misleading.so")
    build = ["gcc", "-O2", "-shared", "-fPIC", "-x", "c", "-o", library, "-"]
    subprocess.run(build, input=MISLEADING.encode(), check=True)
    load = f"import ctypes; ctypes.CDLL('{library}'); print(1, flush=True); input()"
    with subprocess.Popen(
        ["/usr/bin/python3", "-c", load], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"1\n"
        yield library
        process.communicate(b"\n")


def _resume(host: TlsHost, version: str) -> None:
    """Make a connection, and another one that resumes its session."""
    session = str(host.folder / f"session-{version}")
    ask = CLIENTS["openssl"]
    with host.serving("python as nobody", version=version) as port:
        host.get((*ask, "-sess_out", session), port, f"full-{version}")
        assert Path(session).exists()
        host.get((*ask, "-sess_in", session), port, f"resumed-{version}")


def _answer_late(host: TlsHost) -> None:
    client = (*NOBODY, "/usr/bin/python3", "-c", SLOW_CLIENT, "{ADDRESS}", "{PORT}")
    with host.serving("python", version="1.2") as port:
        host.get((*client, "{NAME}"), port, "far-away")


def _forget_labels(host: TlsHost) -> None:
    client = ("/usr/bin/python3", "-c", FORGETFUL_CLIENT, "{URL}")
    with host.serving("python as nobody", version="1.2") as port:
        for name in FORGOTTEN:
            host.get(client, port, name)


@pytest.fixture(scope="module")
def tshark(wireshark: Wireshark, tls_host: TlsHost) -> Decrypting:
    """Return a tshark that has captured all exchanges, and has ended."""
    with (
        _misleading(tls_host) as misleading,
        # Programs take their time on a busy machine.
        decrypting(wireshark, tls_host.space, "tlswait:3000") as tshark,
    ):
        tshark.wait_for_log(misleading)
        tshark.wait_for_log(READY)
        for title, exchange in EXCHANGES.items():
            with tls_host.serving(exchange.server, version=exchange.version) as port:
                tls_host.get(exchange.client, port, _name(title))
        for version in ("1.2", "1.3"):
            _resume(tls_host, version)
        _answer_late(tls_host)
        _forget_labels(tls_host)
        with tls_host.serving("python") as port:
            tls_host.get(CLIENTS["curl"], port, "the-last")
        tshark.wait_for("the-last")
        tshark.end()
        assert tshark.captures.left() == []
    return tshark


@pytest.mark.parametrize("title", EXCHANGES)
def test_exchange(tshark: Decrypting, title: str) -> None:
    exchange, seen = EXCHANGES[title], tshark.seen()
    assert (_name(title) in seen.requests) == exchange.decrypted, tshark.counts
    if "response" in exchange.shown:
        assert (_name(title) in seen.responses) == exchange.decrypted, tshark.counts


def test_nothing_was_evicted_or_refused(tshark: Decrypting) -> None:
    assert tshark.counts["evicted"] == tshark.counts["refused"] == 0


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_resumption(tshark: Decrypting, version: str) -> None:
    assert tshark.seen().responses >= {f"full-{version}", f"resumed-{version}"}


def test_a_client_may_be_far_away(tshark: Decrypting) -> None:
    """Of TLS 1.2, a server has the secret when the client has answered."""
    assert "far-away" in tshark.seen().responses


def test_a_label_need_not_be_in_memory(tshark: Decrypting) -> None:
    assert tshark.seen().responses >= FORGOTTEN


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_library_of_one_program_says_nothing_about_the_others(
    tshark: Decrypting, version: str
) -> None:
    """While a library runs that names another place for NSS's handles of keys."""
    assert f"tstclnt-of-python-{version}" in tshark.seen().responses


def test_without_tls_only_a_key_log_gives_secrets(
    wireshark: Wireshark, tls_host: TlsHost
) -> None:
    """The key log is followed while it grows."""
    file = str(tls_host.folder / "keys")
    options = (f"keylogfile:{file}", "tls:off")
    with (
        tls_host.serving("python") as port,
        decrypting(wireshark, tls_host.space, *options) as tshark,
    ):
        tls_host.get(CLIENTS["curl"], port, "first", SSLKEYLOGFILE=file)
        tls_host.get(CLIENTS["curl"], port, "unread")
        tls_host.get(CLIENTS["curl"], port, "second", SSLKEYLOGFILE=file)
        tshark.wait_for("second")
        found = tshark.end()
    assert found.requests == found.responses == {"first", "second"}
    assert tshark.counts["with_secrets"] == 2


def test_a_process_filter_says_who_is_traced(
    wireshark: Wireshark, tls_host: TlsHost
) -> None:
    """Root may choose other users' processes by a filter; only those are traced."""
    with (
        tls_host.serving("python as nobody") as port,
        decrypting(wireshark, tls_host.space, "uid:65534") as tshark,
    ):
        tshark.wait_for_log(READY)

        def shown_after_one_more() -> bool:
            tls_host.get(AS_NOBODY["curl"], port, "named")
            return "named" in tshark.seen().responses

        # Without kprobes the process of a new socket is known a moment later, and
        # the filter may miss the beginning of a connection.
        running.until(shown_after_one_more, "a connection from its begin")
        assert tshark.end().responses == {"named"}
