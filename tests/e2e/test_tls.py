"""TLS of real programs, captured live by tshark, and decrypted in its first pass.

Each request has a name of its own; decrypted are those whose request and response
tshark shows as HTTP. The whole matrix: make tls-matrix.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support import netns, running, tls
from support.tls import AS_NOBODY, CLIENTS, World
from support.wireshark import Wireshark

MANY = int(os.environ.get("TCCAP_TLS_MANY", "20"))  # connections of a client
WHOLE = "TCCAP_TLS_MANY" in os.environ
LIBRARIES = {"OpenSSL": "curl", "GnuTLS": "wget"}


class Exchange(NamedTuple):
    """One request, and who makes it."""

    server: str
    version: str
    client: tuple[str, ...]
    decrypted: bool = True


EXCHANGES = {
    **{
        f"{client} of {server} {version}": Exchange(server, version, CLIENTS[client])
        for server in ("python", "nginx")
        for version in ("1.2", "1.3")
        for client in ("curl", "python", "openssl", "wget", "gnutls-cli")
    },
    "client side only": Exchange("python as nobody", "1.3", CLIENTS["curl"]),
    "client side only 1.2": Exchange("python as nobody", "1.2", CLIENTS["curl"]),
    "server side only": Exchange("python", "1.3", AS_NOBODY["curl"]),
    "server side only 1.2": Exchange("python", "1.2", AS_NOBODY["curl"]),
    "somebody else's": Exchange("python as nobody", "1.3", AS_NOBODY["curl"], False),
}


class Seen(NamedTuple):
    """What tshark has shown."""

    requests: set[str]
    responses: set[str]
    counts: dict[str, Any]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("tls")
    for each in (folder, *folder.parents[:2]):
        each.chmod(0o755)
    with netns.namespace() as space:
        yield World(space, folder)


def _name(title: str) -> str:
    return title.replace(" ", "-").replace("'", "")


def _seen(lines: list[list[str]], counts: dict[str, Any]) -> Seen:
    requests = {uri.removeprefix("/") for uri, _code, _of in lines if uri}
    responses = {of.rpartition("/")[2] for _uri, code, of in lines if code == "200"}
    return Seen(requests, responses, counts)


@pytest.fixture(scope="module")
def seen(wireshark: Wireshark, world: World) -> Seen:
    """Make all exchanges in one capture."""
    with tls.decrypting(wireshark, world.space) as tshark:
        tshark.wait_for_log("tls {'ready': True}")
        for title, exchange in EXCHANGES.items():
            with world.serving(exchange.server, version=exchange.version) as port:
                world.get(exchange.client, port, _name(title))
        with world.serving("python") as port:
            world.get(CLIENTS["curl"], port, "the-last")
        tshark.wait_for("/the-last\n")
        found = _seen(*tshark.end())
        assert tshark.captures.left() == []
    return found


@pytest.mark.parametrize("title", EXCHANGES)
def test_exchange(seen: Seen, title: str) -> None:
    decrypted = EXCHANGES[title].decrypted
    assert (_name(title) in seen.requests) == decrypted
    assert (_name(title) in seen.responses) == decrypted


def test_nothing_was_crowded_out_or_refused(seen: Seen) -> None:
    assert seen.counts["crowded_out"] == seen.counts["refused"] == 0


@pytest.mark.parametrize("library", LIBRARIES)
def test_many(
    wireshark: Wireshark,
    world: World,
    library: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = [f"{library}-{number}" for number in range(MANY)]
    with (
        world.serving("python as nobody") as port,
        tls.decrypting(wireshark, world.space) as tshark,
    ):
        tshark.wait_for_log("tls {'ready': True}")
        for name in names:
            world.get(CLIENTS[LIBRARIES[library]], port, name)
        tshark.wait_for(f"/{names[-1]}\n")
        found = _seen(*tshark.end())
    decrypted = found.responses & {*names}
    with capsys.disabled():
        median, longest = (
            1000 * found.counts[f"{which}_wait_s"] for which in ("median", "longest")
        )
        print(  # noqa: T201  # a figure to read
            f"\n{library}: {len(decrypted)} of {MANY} connections decrypted; packets "
            f"waited {median:.1f} ms (median), {longest:.1f} ms (longest)"
        )
    assert len(decrypted) >= 0.99 * MANY


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_resumption(wireshark: Wireshark, world: World, version: str) -> None:
    session = str(world.folder / f"session-{version}")
    ask = CLIENTS["openssl"]
    with (
        world.serving("python as nobody", version=version) as port,
        tls.decrypting(wireshark, world.space) as tshark,
    ):
        tshark.wait_for_log("tls {'ready': True}")
        world.get((*ask, "-sess_out", session), port, "full")
        assert Path(session).exists()
        world.get((*ask, "-sess_in", session), port, "resumed")
        tshark.wait_for("/resumed\n")
        assert _seen(*tshark.end()).responses == {"full", "resumed"}


def test_a_key_log_is_followed(wireshark: Wireshark, world: World) -> None:
    file = world.folder / "keys"
    options = (f"keylogfile:{file}", "tls:off")
    with (
        world.serving("python as nobody") as port,
        tls.decrypting(wireshark, world.space, *options) as tshark,
    ):
        for name in ("first", "second"):
            world.get(CLIENTS["curl"], port, name, SSLKEYLOGFILE=str(file))
        tshark.wait_for("/second\n")
        found = _seen(*tshark.end())
    assert found.responses == {"first", "second"}
    assert found.counts["with_secrets"] == 2


def test_a_process_filter_says_who_is_traced(
    wireshark: Wireshark, world: World
) -> None:
    """Root's filter may name others' processes, and then only those are traced."""
    with (
        world.serving("python as nobody") as port,
        tls.decrypting(wireshark, world.space, "uid:65534") as tshark,
    ):
        tshark.wait_for_log("tls {'ready': True}")

        def shown_after_one_more() -> bool:
            world.get(AS_NOBODY["curl"], port, "named")
            return tshark.has_shown("/named\n")

        # Without kprobes a new socket's process is known a moment later, and the
        # filter may miss how a connection begins.
        running.until(shown_after_one_more, "a connection from its begin")
        assert _seen(*tshark.end()).responses == {"named"}


def test_off_is_off(wireshark: Wireshark, world: World) -> None:
    file = world.folder / "unused"
    options = (f"keylogfile:{file}", "tls:off")
    with (
        world.serving("python") as port,
        tls.decrypting(wireshark, world.space, *options) as tshark,
    ):
        world.get(CLIENTS["curl"], port, "unread")
        world.get(CLIENTS["curl"], port, "marker", SSLKEYLOGFILE=str(file))
        tshark.wait_for("/marker\n")
        assert _seen(*tshark.end()).requests == {"marker"}


@pytest.mark.skipif(not WHOLE, reason="only in the whole matrix: make tls-matrix")
@pytest.mark.parametrize("program", ["node", "go"])
def test_a_program_that_is_named(
    wireshark: Wireshark, world: World, program: str
) -> None:
    """Its own copy of the library is probed before the program is started."""
    path = world.program(program)
    with (
        world.serving("python as nobody") as port,
        tls.decrypting(wireshark, world.space, f"tlslibraries:{path}") as tshark,
    ):
        tshark.wait_for_log("tls {'ready': True}")
        names = [f"{program}-{number}" for number in range(5)]
        for name in names:
            world.get(CLIENTS[program], port, name)
        tshark.wait_for(f"/{names[-1]}\n")
        assert _seen(*tshark.end()).responses == {*names}
