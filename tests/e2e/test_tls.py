"""TLS of real programs, captured live by tshark, and decrypted in its first pass.

Each exchange fetches a page with its own name. It counts as decrypted if tshark shows
request and response as HTTP.
"""

import subprocess
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


@pytest.fixture(scope="module")
def tshark(wireshark: Wireshark, tls_host: TlsHost) -> Decrypting:
    """Return a tshark that has captured all exchanges, and has ended."""
    with decrypting(wireshark, tls_host.space) as tshark:
        tshark.wait_for_log(READY)
        for title, exchange in EXCHANGES.items():
            with tls_host.serving(exchange.server, version=exchange.version) as port:
                tls_host.get(exchange.client, port, _name(title))
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
def test_resumption(wireshark: Wireshark, tls_host: TlsHost, version: str) -> None:
    session = str(tls_host.folder / f"session-{version}")
    ask = CLIENTS["openssl"]
    with (
        tls_host.serving("python as nobody", version=version) as port,
        decrypting(wireshark, tls_host.space) as tshark,
    ):
        tshark.wait_for_log(READY)
        tls_host.get((*ask, "-sess_out", session), port, "full")
        assert Path(session).exists()
        tls_host.get((*ask, "-sess_in", session), port, "resumed")
        tshark.wait_for("resumed")
        assert tshark.end().responses == {"full", "resumed"}


def test_a_client_may_be_far_away(wireshark: Wireshark, tls_host: TlsHost) -> None:
    """Of TLS 1.2, a server has the secret when the client has answered."""
    client = (*NOBODY, "/usr/bin/python3", "-c", SLOW_CLIENT, "{ADDRESS}", "{PORT}")
    with (
        tls_host.serving("python", version="1.2") as port,
        decrypting(wireshark, tls_host.space) as tshark,
    ):
        tshark.wait_for_log(READY)
        tls_host.get((*client, "{NAME}"), port, "far-away")
        tshark.wait_for("far-away")
        assert tshark.end().responses == {"far-away"}


def test_a_label_need_not_be_in_memory(wireshark: Wireshark, tls_host: TlsHost) -> None:
    client = ("/usr/bin/python3", "-c", FORGETFUL_CLIENT, "{URL}")
    names = {f"forgotten-{number}" for number in range(20)}
    with (
        tls_host.serving("python as nobody", version="1.2") as port,
        decrypting(wireshark, tls_host.space) as tshark,
    ):
        tshark.wait_for_log(READY)
        for name in names:
            tls_host.get(client, port, name)
        tls_host.get(CLIENTS["curl"], port, "the-end")
        tshark.wait_for("the-end")
        assert tshark.end().responses >= names


def test_a_key_log_is_followed(wireshark: Wireshark, tls_host: TlsHost) -> None:
    file = tls_host.folder / "keys"
    options = (f"keylogfile:{file}", "tls:off")
    with (
        tls_host.serving("python as nobody") as port,
        decrypting(wireshark, tls_host.space, *options) as tshark,
    ):
        for name in ("first", "second"):
            tls_host.get(CLIENTS["curl"], port, name, SSLKEYLOGFILE=str(file))
        tshark.wait_for("second")
        found = tshark.end()
    assert found.responses == {"first", "second"}
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


def test_a_library_of_one_program_says_nothing_about_the_others(
    wireshark: Wireshark, tls_host: TlsHost
) -> None:
    """It names another place for NSS's handles of keys."""
    library = tls_host.folder / "misleading.so"
    code = "long PK11_GetSymKeyHandle(char *k) { return *(long *)(k + 24); }"
    build = ["gcc", "-O2", "-shared", "-fPIC", "-x", "c", "-o", str(library), "-"]
    subprocess.run(build, input=code.encode(), check=True)
    load = f"import ctypes; ctypes.CDLL('{library}'); print(1, flush=True); input()"
    with (
        tls_host.serving("python as nobody") as port,
        subprocess.Popen(
            ["/usr/bin/python3", "-c", load],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as other,
        decrypting(wireshark, tls_host.space) as tshark,
    ):
        assert other.stdout
        assert other.stdin
        assert other.stdout.readline() == b"1\n"
        tshark.wait_for_log(str(library))
        tshark.wait_for_log(READY)
        tls_host.get(CLIENTS["tstclnt"], port, "nss")
        other.stdin.close()
        tls_host.get(CLIENTS["curl"], port, "the-last-one")
        tshark.wait_for("the-last-one")
        assert "nss" in tshark.end().responses


def test_off_is_off(wireshark: Wireshark, tls_host: TlsHost) -> None:
    file = tls_host.folder / "unused"
    options = (f"keylogfile:{file}", "tls:off")
    with (
        tls_host.serving("python") as port,
        decrypting(wireshark, tls_host.space, *options) as tshark,
    ):
        tls_host.get(CLIENTS["curl"], port, "unread")
        tls_host.get(CLIENTS["curl"], port, "marker", SSLKEYLOGFILE=str(file))
        tshark.wait_for("marker")
        assert tshark.end().requests == {"marker"}
