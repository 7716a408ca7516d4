"""TLS of programs that bring their own library, captured live by tshark, and decrypted.

Servers are nobody's, so that what is decrypted is so by these programs. nginx speaks
HTTP/2 to those that can.
"""

import os
from typing import NamedTuple

import pytest

from support.decrypting import READY, decrypting
from support.tls import World
from support.wireshark import Wireshark

PAGES = 5
whole = pytest.mark.skipif(
    "TCCAP_TLS_MANY" not in os.environ,
    reason="only in the whole matrix: make tls-matrix",
)


class Talk(NamedTuple):
    """Who fetches pages, and from whom."""

    program: str
    server: str
    version: str

    @property
    def pages(self) -> list[str]:
        """Name the pages."""
        name = "-".join(self).replace(" ", "-")
        return [f"{name}-{number}" for number in range(PAGES)]

    @property
    def uses_http2(self) -> bool:
        """Tell whether both can."""
        return not self.server.startswith("python") and self.program != "node"


TALKS = [
    Talk(program, server, version)
    for program in ("curl_cffi", "node", "go", "chromium")
    for server in ("python as nobody", "nginx as nobody")
    for version in ("1.2", "1.3")
]


@whole
@pytest.mark.parametrize("talk", [*TALKS, Talk("grpc", "grpc", "1.3")], ids=" ".join)
def test_a_library_that_is_named(
    wireshark: Wireshark, world: World, talk: Talk
) -> None:
    """It is probed before the first program that uses it is started."""
    library = world.program(talk.program)
    with (
        world.serving(talk.server, version=talk.version) as port,
        decrypting(wireshark, world.space, f"tlslibraries:{library}") as tshark,
    ):
        tshark.wait_for_log(READY)
        for page in talk.pages:
            world.fetch(talk.program, port, page)
        tshark.wait_for(talk.pages[-1])
        seen = tshark.end()
    assert seen.requests & seen.responses >= {*talk.pages}
    assert (seen.by_http2 >= {*talk.pages}) == talk.uses_http2


@pytest.mark.parametrize(
    "talk",
    [
        Talk("libssl", "python as nobody", "1.3"),
        *(pytest.param(talk, marks=whole) for talk in TALKS),
    ],
    ids=" ".join,
)
def test_a_library_that_a_running_program_loads(
    wireshark: Wireshark, world: World, talk: Talk
) -> None:
    """Nobody names it: tccap looks through the running processes."""
    library = world.program(talk.program)
    with (
        world.serving(talk.server, version=talk.version) as port,
        world.staying(talk.program) as program,
        decrypting(wireshark, world.space) as tshark,
    ):
        tshark.wait_for_log(READY)
        program.load()
        tshark.wait_for_log(f" in {library}, ")
        for page in talk.pages:
            program.fetch(port, page)
        for page in talk.pages:
            tshark.wait_for(page)
        assert tshark.end().requests >= {*talk.pages}
