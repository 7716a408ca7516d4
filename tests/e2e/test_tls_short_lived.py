"""Programs that live for milliseconds are decrypted from their first connection on."""

import os
import subprocess
from pathlib import Path

from support.decrypting import READY, decrypting
from support.tls import TlsHost
from support.wireshark import Wireshark
from tccap.paths import SCRIPT, engine_python

RUNS = 20
PROGRAM = "go"


def _fetch_all(wireshark: Wireshark, host: TlsHost, title: str) -> set[str]:
    """Fetch pages, each with a new process; return those that tshark has decrypted."""
    names = [f"{title}-{number}" for number in range(RUNS)]
    with (
        host.serving("python as nobody") as port,
        decrypting(wireshark, host.space) as tshark,
    ):
        tshark.wait_for_log(READY)
        for name in names:
            host.fetch(PROGRAM, port, name)
        tshark.wait_for(names[-1])
        return tshark.end().responses & {*names}


def test_a_program_that_was_scanned(wireshark: Wireshark, tls_host: TlsHost) -> None:
    program = tls_host.program(PROGRAM)
    folder = program.rpartition("/")[0]
    scan = [engine_python(), "-I", SCRIPT, "tls", "scan", folder]
    done = subprocess.run(scan, check=True, capture_output=True, text=True)
    assert f"{program}: Go" in done.stdout.splitlines()
    assert len(_fetch_all(wireshark, tls_host, "scanned")) == RUNS


def test_a_program_of_an_earlier_capture(
    wireshark: Wireshark, tls_host: TlsHost
) -> None:
    _fetch_all(wireshark, tls_host, "first")
    assert len(_fetch_all(wireshark, tls_host, "second")) == RUNS


def test_a_library_of_programs_that_have_ended_when_it_is_examined(
    wireshark: Wireshark, tls_host: TlsHost
) -> None:
    """As in a container with libraries of its own; this one was never examined."""
    folder = tls_host.folder / "libraries"
    folder.mkdir()
    [found] = Path("/usr/lib").glob("*/libssl.so.3")
    own = folder / found.name
    own.write_bytes(found.read_bytes() + os.urandom(16))
    names = [f"own-{number}" for number in range(RUNS)]
    curl = ("curl", "-sk", "{URL}")
    found_it = f"TLS: secrets are read from OpenSSL in {own}"
    with (
        tls_host.serving("python as nobody") as port,
        decrypting(wireshark, tls_host.space) as tshark,
    ):
        tshark.wait_for_log(READY)
        for _ in range(RUNS):  # until one of them lives long enough to be seen
            tls_host.get(curl, port, "learning", LD_LIBRARY_PATH=str(folder))
            if tshark.has_logged(found_it):
                break
        tshark.wait_for_log(found_it)
        for name in names:
            tls_host.get(curl, port, name, LD_LIBRARY_PATH=str(folder))
        tshark.wait_for(names[-1])
        assert {*names} <= tshark.end().responses
