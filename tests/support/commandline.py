"""Runs ``tccap -i ... -w ...`` as a person does, and reads its files back."""

import contextlib
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from support import netns, running
from tccap.paths import SCRIPT

COUNTS = re.compile(
    r"^(\d+) packets captured, (\d+) received by filter, (\d+) dropped$", re.MULTILINE
)
READY = b"Capturing on "
# What every capture says, and one on a slow machine.
USUAL = re.compile(
    rf"{COUNTS.pattern}|Capturing on |Preparing the capture; ", re.MULTILINE
)
# Whatever runs the tests: a terminal's signals are not ignored.
PREFIX = ("env", "--default-signal=INT,HUP", SCRIPT)


class Counts(NamedTuple):
    """What a capture says at its end."""

    captured: int
    received: int
    dropped: int


class Capture:
    """A capture that runs."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", stderr: running.Collector
    ) -> None:
        self.process = process
        self._stderr = stderr

    def wait_until_ready(self) -> None:
        """Return when packets are captured."""
        self._stderr.wait_for(READY)

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        """Signal the whole process group, as Ctrl-C does."""
        os.killpg(self.process.pid, number)

    def end(self, status: int = 0) -> tuple[Counts, str]:
        """Wait for the end; return the counts, and what else stderr has."""
        assert self.process.wait(running.DEADLINE_S) == status, self.errors()
        text = self.errors()
        match = COUNTS.search(text)
        assert match, text
        others = [line for line in text.splitlines() if not USUAL.match(line)]
        return Counts(*map(int, match.groups())), "\n".join(others)

    def errors(self) -> str:
        """Return all of stderr, which is closed at the end."""
        return self._stderr.rest().decode()


@contextlib.contextmanager
def capturing(
    space: netns.Namespace, *arguments: str, stdout: int = subprocess.DEVNULL
) -> Iterator[Capture]:
    """Yield a capture in a namespace once it is ready."""
    with subprocess.Popen(
        space.command(*PREFIX, *arguments),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        process_group=0,
    ) as process:
        assert process.stderr
        capture = Capture(process, running.Collector(process.stderr))
        try:
            capture.wait_until_ready()
            yield capture
        finally:
            process.kill()


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a call that ends by itself."""
    return subprocess.run(
        [SCRIPT, *arguments],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=running.DEADLINE_S,
    )


def send(pair: netns.Pair, packets: int, port: int = 9, length: int = 100) -> None:
    """Send packets from this process."""
    with pair.near.entered(), socket.socket(type=socket.SOCK_DGRAM) as sock:
        for _ in range(packets):
            sock.sendto(bytes(length), (pair.far_address, port))


def fields(file: Path, *names: str) -> list[list[str]]:
    """Return fields of a file's packets, as the real tshark reads them."""
    words = [word for name in names for word in ("-e", name)]
    done = subprocess.run(
        ["tshark", "-r", str(file), "-T", "fields", *words],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "cut short" not in done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


def packets_of(file: Path) -> int:
    """Return the packets of a file by capinfos, which fails if it is cut."""
    done = subprocess.run(
        ["capinfos", "-Mcr", str(file)], check=True, capture_output=True, text=True
    )
    assert done.stderr == ""
    match = re.search(r"^Number of packets: +(\d+)$", done.stdout, re.MULTILINE)
    assert match, done.stdout
    return int(match[1])
