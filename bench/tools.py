"""The capturing programs that are compared; each is ready when it is yielded."""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from support import stream
from support.netns import Namespace
from support.wireshark import Log
from tccap.paths import SCRIPT

RING_MIB = 64
STOP_DEADLINE_S = 60


@dataclass
class Tool:
    """A running capture, its processes and its counts."""

    processes: "list[subprocess.Popen[bytes]]" = field(default_factory=list)
    file: Path | None = None
    captured: int = 0
    counted: int = 0  # lost packets, by the tool's own count
    quiet_s: float = 0.3  # without CPU time for so long, it is idle

    def cpu_s(self) -> float:
        """Return the CPU time so far of all its processes."""
        return sum(_cpu_ns(pid) for p in self.processes for pid in family(p.pid)) / 1e9

    def user_s(self) -> float:
        """Return how much of that was outside the kernel."""
        ticks = sum(_user_ticks(pid) for p in self.processes for pid in family(p.pid))
        return ticks / os.sysconf("SC_CLK_TCK")

    def settle(self) -> None:
        """Return when it is idle."""
        before = -1.0
        while (now := self.cpu_s()) > before + 0.001:
            before = now
            time.sleep(self.quiet_s)


def script_before() -> str | None:
    """Return the script of the checkout in the folder BEFORE; None: there is none."""
    folder = os.environ.get("BEFORE")
    return str(Path(folder, "extcap/tccap.py")) if folder else None


# Takes a namespace, a device in it, and a folder for files.
Maker = Callable[[Namespace, str, Path], contextlib.AbstractContextManager[Tool]]


@contextlib.contextmanager
def nothing(_space: Namespace, _device: str, _folder: Path) -> Iterator[Tool]:
    """Capture nothing."""
    yield Tool()


def tcpdump(*options: str, capture_filter: str = "") -> Maker:
    """Return tcpdump writing a file."""
    return _libpcap(("tcpdump", "-n", *options), "listening on", capture_filter)


def dumpcap(*options: str) -> Maker:
    """Return dumpcap writing a file."""
    return _libpcap(("dumpcap", "-q", *options), "File: ")


def _libpcap(command: tuple[str, ...], ready: str, capture_filter: str = "") -> Maker:
    @contextlib.contextmanager
    def run(space: Namespace, device: str, folder: Path) -> Iterator[Tool]:
        file = folder / "file"
        errors = folder / "stderr"
        wanted = (capture_filter,) if capture_filter else ()
        full = space.command(*command, "-i", device, "-w", str(file), *wanted)
        with errors.open("wb") as stderr, _process(full, stderr=stderr.fileno()) as p:
            while ready not in errors.read_text():
                time.sleep(0.01)
            # libpcap passes on a block that is not full only after a second.
            tool = Tool([p], file, quiet_s=1.2)
            yield tool
            _stop(p)
        tool.captured = _count(file)
        dropped = re.findall(r"(\d+) packets? dropped by kernel", errors.read_text())
        dropped += re.findall(r"received/dropped on .*: \d+/(\d+)", errors.read_text())
        tool.counted = int(dropped[0]) if dropped else 0

    return run


def tccap_to_file(*options: str, script: str = SCRIPT) -> Maker:
    """Return tccap, perhaps another one, whose stream goes straight into a file."""

    @contextlib.contextmanager
    def run(space: Namespace, device: str, folder: Path) -> Iterator[Tool]:
        file = folder / "file"
        file.touch()
        with _front(space, device, folder, file, *options, script=script) as front:
            tool = Tool([front], file)
            yield tool
            _stop(front)
        _read_counts(tool, file)

    return run


@contextlib.contextmanager
def tccap_to_dumpcap(
    space: Namespace, device: str, folder: Path, *, script: str = SCRIPT
) -> Iterator[Tool]:
    """Capture as Wireshark does: a FIFO between the extcap and dumpcap."""
    fifo, file = folder / "fifo", folder / "file"
    os.mkfifo(fifo)
    reader = ["dumpcap", "-q", "-i", str(fifo), "-w", str(file)]
    with (
        (folder / "stderr").open("wb") as stderr,
        _process(reader, stderr=stderr.fileno()) as dump,
        _front(space, device, folder, fifo, script=script) as front,
    ):
        tool = Tool([front, dump], file)
        yield tool
        _stop(front)
        dump.wait(STOP_DEADLINE_S)
    _read_counts(tool, file)


@contextlib.contextmanager
def _front(
    space: Namespace,
    device: str,
    folder: Path,
    stream_path: Path,
    *options: str,
    script: str = SCRIPT,
) -> Iterator["subprocess.Popen[bytes]"]:
    log = Log(folder)
    arguments = ("--capture", "--extcap-interface", f"tccap-{device}")
    logged = ("--log-file", str(log.path), "--log-level", "debug")
    streamed = ("--fifo", str(stream_path))
    command = space.command(script, *arguments, *streamed, *logged, *options)
    with (
        (folder / "front").open("wb") as stderr,
        contextlib.closing(log),
        _process(command, stderr=stderr.fileno()) as process,
    ):
        log.wait_for("ready")
        yield process


@contextlib.contextmanager
def _process(command: list[str], stderr: int) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr) as process:
        try:
            yield process
        finally:
            process.kill()


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGINT)
    process.wait(STOP_DEADLINE_S)


def _read_counts(tool: Tool, file: Path) -> None:
    tool.captured = _count(file)
    data = file.read_bytes()
    # Statistics come last; the frames before them need no second look.
    for kind, body in stream.blocks(data):
        if kind == stream.ISB:
            tool.counted = int.from_bytes(body[12 + 12 + 4 : 12 + 12 + 12], "little")


def _count(file: Path) -> int:
    """Return the packets in a pcap or pcapng file."""
    data = file.read_bytes()
    if data[:4] == b"\x0a\x0d\x0d\x0a":
        return sum(kind == stream.EPB for kind, _ in stream.blocks(data))
    at = 24
    count = 0
    while at < len(data):
        at += 16 + int.from_bytes(data[at + 8 : at + 12], "little")
        count += 1
    return count


def _cpu_ns(pid: int) -> int:
    """Return the CPU time of a process, in nanoseconds."""
    try:
        return time.clock_gettime_ns(~pid << 3 | 2)  # CPUCLOCK_SCHED of the process
    except OSError:
        return 0


def _user_ticks(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[11])


def family(pid: int) -> list[int]:
    """Return a process and its descendants: the engine and the carrier, too."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has ended
        return []
    return [pid, *(each for child in children for each in family(int(child)))]


def folder() -> "tempfile.TemporaryDirectory[str]":
    """Return a folder in memory, so that no disk is measured."""
    return tempfile.TemporaryDirectory(dir="/dev/shm")
