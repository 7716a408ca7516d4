"""What many devices cost: the list, the start of ``any``, memory and descriptors.

BEFORE names another checkout, whose figures are shown beside ours.
"""

import contextlib
import os
import signal
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench import tables, tools
from support import netns, running
from support.wireshark import Log
from tccap.paths import SCRIPT

COUNTS, COUNTS_SHORT = (16, 100, 450, 1000), (16, 100)
HEAD = ("devices", "list ms", "packets s", "all s", "MiB", "descriptors", "end s")
LISTS = 9
LIMIT = ("prlimit", "--nofile=1024:")  # of a log-in; the hard one stays
MARK = b"the packet that is waited for"


class Capture(NamedTuple):
    """Figures of one capture of ``any``."""

    packets_s: float
    all_s: float
    rss_mib: float
    descriptors: int
    end_s: float


def main(*, short: bool) -> None:
    """Print a line for each number of devices."""
    scripts = {"": SCRIPT}
    if before := tools.script_before():
        scripts["before: "] = before
    rows = []
    for count in COUNTS_SHORT if short else COUNTS:
        with _space(count) as space:
            rows += [_row(space, count, n, script) for n, script in scripts.items()]
    tables.show("Many devices: lo and pairs of veth, all up", HEAD, rows)


@contextlib.contextmanager
def _space(count: int) -> Iterator[netns.Namespace]:
    lines = [
        f"link add d{n} type veth peer name p{n}\nlink set d{n} up\nlink set p{n} up\n"
        for n in range(count // 2)
    ]
    with netns.namespace() as space:
        command = ["ip", "-n", space.name, "-batch", "-"]
        subprocess.run(command, input="".join(lines), text=True, check=True)
        yield space


def _row(space: netns.Namespace, count: int, name: str, script: str) -> tuple[str, ...]:
    listed = f"{statistics.median(_list_ms(space, script) for _ in range(LISTS)):.0f}"
    found = _capture(space, script)
    if found is None:
        return (f"{name}{count}", listed, "none", "fails", "", "", "")
    times = (f"{found.packets_s:.2f}", f"{found.all_s:.2f}", f"{found.rss_mib:.0f}")
    return (
        f"{name}{count}",
        listed,
        *times,
        f"{found.descriptors}",
        f"{found.end_s:.2f}",
    )


def _list_ms(space: netns.Namespace, script: str) -> float:
    with space.entered():
        started = time.perf_counter()
        subprocess.run([script, "--extcap-interfaces"], check=True, capture_output=True)
        return (time.perf_counter() - started) * 1000


def _capture(space: netns.Namespace, script: str) -> Capture | None:
    """Capture all devices once; None if that ends by itself before it is ready."""
    with tools.folder() as name, contextlib.closing(Log(Path(name))) as log:
        fifo = Path(name) / "fifo"
        os.mkfifo(fifo)
        call = (script, "--capture", "--extcap-interface", "tccap-any")
        more = (
            "--fifo",
            str(fifo),
            "--log-file",
            str(log.path),
            "--log-level",
            "debug",
        )
        started = time.monotonic()
        with (
            subprocess.Popen(
                [*LIMIT, *space.command(*call, *more)], stderr=subprocess.DEVNULL
            ) as front,
            fifo.open("rb") as reader,
        ):
            try:
                return _measure(space, front, running.Collector(reader), log, started)
            finally:
                front.kill()


def _measure(
    space: netns.Namespace,
    front: "subprocess.Popen[bytes]",
    stream: running.Collector,
    log: Log,
    started: float,
) -> Capture | None:
    if not _send_until_seen(space, stream):
        return None
    packets_s = time.monotonic() - started
    log.wait_for("ready")
    all_s = time.monotonic() - started
    family = tools.family(front.pid)
    rss, descriptors = sum(map(_rss_mib, family)), max(map(_descriptors, family))
    ending = time.monotonic()
    front.send_signal(signal.SIGINT)
    front.wait(running.DEADLINE_S)
    return Capture(packets_s, all_s, rss, descriptors, time.monotonic() - ending)


def _send_until_seen(space: netns.Namespace, stream: running.Collector) -> bool:
    """Send packets on lo; return whether one was captured before the stream ended."""
    with space.entered(), socket.socket(type=socket.SOCK_DGRAM) as sock:
        while MARK not in stream.so_far():
            sock.sendto(MARK, ("127.0.0.1", netns.DISCARD_PORT))
            if stream.wait_for_end(0.005):
                return MARK in stream.so_far()
    return True


def _rss_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _descriptors(pid: int) -> int:
    return len([*Path(f"/proc/{pid}/fd").iterdir()])
