"""Programs that live for milliseconds are decrypted from their first connection on."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support import running
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
    wireshark: Wireshark, tls_host: TlsHost, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a container with libraries of its own; this one was never examined."""
    folder = tls_host.folder / "libraries"
    folder.mkdir()
    [found] = Path("/usr/lib").glob("*/libssl.so.3")
    own = folder / found.name
    own.write_bytes(found.read_bytes() + os.urandom(16))

    def fetch(port: int, name: str) -> None:
        curl = ("curl", "-sk", "{URL}")
        tls_host.get(curl, port, name, LD_LIBRARY_PATH=str(folder))

    _check_found_while_it_runs(wireshark, tls_host, own, fetch, capsys)


def test_a_program_that_has_ended_when_it_is_examined(
    wireshark: Wireshark, tls_host: TlsHost, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Path(tls_host.another(PROGRAM, "never-examined"))

    def fetch(port: int, name: str) -> None:
        tls_host.get((str(own),), port, name, given="{URL}\n")

    _check_found_while_it_runs(wireshark, tls_host, own, fetch, capsys)


def _check_found_while_it_runs(
    wireshark: Wireshark,
    host: TlsHost,
    file: Path,
    fetch: Callable[[int, str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Fetch pages until a file is probed, and then check that all are decrypted."""
    names = [f"{file.stem}-{number}" for number in range(RUNS)]
    message = f" in {file}, probes: 1."
    with (
        host.serving("python as nobody") as port,
        decrypting(wireshark, host.space) as tshark,
    ):
        tshark.wait_for_log(READY)
        # Until one of them lives long enough to be seen: some live a few milliseconds.
        deadline = time.monotonic() + running.DEADLINE_S
        learning = 0
        while not tshark.has_logged(message):
            assert time.monotonic() < deadline, f"{file} was never seen"
            learning += 1
            fetch(port, f"learning-{learning}")
        for name in names:
            fetch(port, name)
        tshark.wait_for(names[-1])
        seen = tshark.end().responses
    assert {*names} <= seen
    with capsys.disabled():
        missed = learning - sum(name.startswith("learning-") for name in seen)
        print(  # noqa: T201  # a figure to read
            f"\n{file.name}: of {learning + RUNS} runs of a program that ends at once, "
            f"the first {missed} are not decrypted"
        )
