"""The cost of reading TLS secrets for programs, and how long packets are held.

OpenSSL's own client and server make one TLS 1.3 handshake after the other, as fast as
they can. Both use the probed library, and each hits a probe five times a handshake.
Their CPU time shows the cost even if the machine is busy.
"""

import contextlib
import os
import re
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench import tables, tools
from finder import programs
from support import netns, running
from support.netns import Namespace
from support.tlsclients import NOBODY

ADDRESS = "127.0.0.1:4433"
PROBED = '"tls_ready"'
HEAD = (
    *("", "handshakes/s", "of none", "CPU µs each", "of none"),
    *("decrypted", "waited ms, median", "longest"),
)


class Case(NamedTuple):
    """One row: the capture, and the user and namespace of the handshakes."""

    tls: str = ""  # the option; none: there is no capture
    user: tuple[str, ...] = ()  # none: root, who captures
    elsewhere: bool = False  # in a namespace that is not captured


CASES = {
    "no capture": Case(),
    "captured, tls off": Case("off"),
    "captured and traced": Case("own"),
    "captured, another user's": Case("own", NOBODY),
    "another user's, elsewhere": Case("own", NOBODY, elsewhere=True),
}


class Handshakes(NamedTuple):
    """Their number, the time they took, and the CPU time of client and server."""

    number: int
    taken_s: float
    cpu_s: float


class Run(NamedTuple):
    """The figures of one run; the last two are the times that packets were held."""

    rate: float  # handshakes a second
    cpu_us: float  # of one handshake
    decrypted: float = 0  # share of the handshakes
    median_ms: float = 0
    longest_ms: float = 0


Runs = dict[str, list[Run]]


def main(*, short: bool) -> None:
    """Print the table."""
    rounds, seconds = (3, 2) if short else (7, 3)
    runs: Runs = {title: [] for title in CASES}
    with tools.folder() as name:
        folder = Path(name)
        folder.chmod(0o755)
        certificate = programs.certificate(folder)
        certificate.chmod(0o644)
        for _ in range(rounds):  # side by side: all in every round
            for title, case in CASES.items():
                runs[title].append(_run(case, certificate, seconds))
    what = f"TLS 1.3 handshakes over lo, median of {rounds}"
    tables.show(what, HEAD, [_row(title, runs) for title in CASES])


def _row(name: str, runs: Runs) -> tuple[str, ...]:
    pairs = list(zip(runs[name], runs["no capture"], strict=True))
    run = Run(*map(statistics.median, zip(*runs[name], strict=True)))
    row = (
        name,
        f"{run.rate:,.0f}",
        f"{statistics.median(run.rate / none.rate for run, none in pairs):.2f}",
        f"{run.cpu_us:,.0f}",
        f"{statistics.median(run.cpu_us / none.cpu_us for run, none in pairs):.2f}",
    )
    if not run.decrypted:
        return (*row, "", "", "")
    waits = (f"{run.median_ms:.1f}", f"{run.longest_ms:.1f}")
    return (*row, f"{100 * run.decrypted:.1f} %", *waits)


def _run(case: Case, certificate: Path, seconds: int) -> Run:
    with netns.namespace() as here, netns.namespace() as elsewhere:
        space = elsewhere if case.elsewhere else here
        if not case.tls:
            return _figures(_handshakes(space, case, certificate, seconds))
        with _engine(here, case.tls) as engine:
            made = _handshakes(space, case, certificate, seconds)
            engine.end()
        return _figures(made, engine)


def _figures(made: Handshakes, engine: running.Engine | None = None) -> Run:
    run = Run(made.number / made.taken_s, 1e6 * made.cpu_s / made.number)
    found = [e["counts"] for e in engine.events() if "counts" in e] if engine else []
    if not found:
        return run
    return run._replace(
        decrypted=found[0]["with_secrets"] / made.number,
        median_ms=1000 * found[0]["median_wait_s"],
        longest_ms=1000 * found[0]["longest_wait_s"],
    )


@contextlib.contextmanager
def _engine(space: Namespace, tls: str) -> Iterator[running.Engine]:
    """Yield an engine that writes to /dev/null, with its probes attached."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        with running.engine(space, "lo", stdout=null, label="short", tls=tls) as engine:
            if tls != "off":
                engine.wait_for(PROBED)
            yield engine
    finally:
        os.close(null)


def _handshakes(
    space: Namespace, case: Case, certificate: Path, seconds: int
) -> Handshakes:
    files = ("-cert", str(certificate), "-key", str(certificate))
    serve = ("s_server", "-www", "-accept", ADDRESS, *files)
    ask = ("s_time", "-new", "-connect", ADDRESS, "-time", str(seconds))
    server = _openssl(space, case, *serve)
    assert server.stdout
    while server.stdout.readline() != b"ACCEPT\n":
        assert server.poll() is None
    started = time.perf_counter()
    client = _openssl(space, case, *ask)
    text, client_cpu_s = _end(client)
    taken_s = time.perf_counter() - started
    server.kill()
    _, server_cpu_s = _end(server)
    made = re.search(rb"(\d+) connections in \d+ real seconds", text)
    assert made, text
    return Handshakes(int(made[1]), taken_s, client_cpu_s + server_cpu_s)


def _openssl(
    space: Namespace, case: Case, *arguments: str
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        space.command(*case.user, "openssl", *arguments, "-tls1_3"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )


def _end(process: "subprocess.Popen[bytes]") -> tuple[bytes, float]:
    """Return the output of a process until its end, and its CPU time."""
    assert process.stdout
    with process.stdout:
        text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return text, usage.ru_utime + usage.ru_stime
