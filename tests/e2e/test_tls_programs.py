"""TLS of programs that bring their own library, captured live by tshark, and decrypted.

The servers run as nobody and are not traced, so all secrets come from these programs.
nginx speaks HTTP/2 with clients that can.
"""

import os
from typing import NamedTuple

import pytest

from support.decrypting import READY, decrypting
from support.tls import TlsHost
from support.wireshark import Wireshark

PAGES = 5
whole = pytest.mark.skipif(
    "TCCAP_TLS_MANY" not in os.environ,
    reason="only in the whole matrix: make tls-matrix",
)


class Talk(NamedTuple):
    """A program that fetches pages, and the server with its TLS version."""

    program: str
    server: str
    version: str

    @property
    def pages(self) -> list[str]:
        """The names of the pages."""
        name = "-".join(self).replace(" ", "-")
        return [f"{name}-{number}" for number in range(PAGES)]

    @property
    def uses_http2(self) -> bool:
        """Whether both can."""
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
    wireshark: Wireshark, tls_host: TlsHost, talk: Talk
) -> None:
    """It is probed before the first program that uses it is started."""
    library = tls_host.program(talk.program)
    with (
        tls_host.serving(talk.server, version=talk.version) as port,
        decrypting(wireshark, tls_host.space, f"tlslibraries:{library}") as tshark,
    ):
        tshark.wait_for_log(READY)
        for page in talk.pages:
            tls_host.fetch(talk.program, port, page)
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
    wireshark: Wireshark, tls_host: TlsHost, talk: Talk
) -> None:
    """It is not named: tccap finds it among the files of running processes."""
    library = tls_host.program(talk.program)
    with (
        tls_host.serving(talk.server, version=talk.version) as port,
        tls_host.staying(talk.program) as program,
        decrypting(wireshark, tls_host.space) as tshark,
    ):
        tshark.wait_for_log(READY)
        program.load()
        tshark.wait_for_log(f" in {library}, ")
        for page in talk.pages:
            program.fetch(port, page)
        for page in talk.pages:
            tshark.wait_for(page)
        assert tshark.end().requests >= {*talk.pages}
