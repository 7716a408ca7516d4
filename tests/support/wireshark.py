"""Runs the real tshark, with this checkout's extcap and no other.

The folder where Wireshark looks for extcaps is covered, in a mount namespace
of the command's own, by one that holds a link to the script; ip-netns(8) makes
that mount namespace. So an installed tccap does not take part in a test.
"""

import contextlib
import os
import re
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from support import bpf, running, tc
from support.netns import Namespace
from tccap.paths import SCRIPT

# $0 covers $1; the command follows.
COVER = 'mount --bind "$0" "$1" && shift && exec "$@"'


# Segments may overtake each other, also on lo, where busy processors share the work.
PREFERENCES = "tcp.reassemble_out_of_order: TRUE\n"


class Wireshark:
    """An installation in which tccap is the only extcap."""

    def __init__(self, top: Path) -> None:
        self._extcaps = top / "extcap"
        self._extcaps.mkdir()
        (self._extcaps / "tccap.py").symlink_to(SCRIPT)
        self.temporary = top / "tmp"
        self.temporary.mkdir(mode=0o777)
        self.temporary.chmod(0o1777)
        # Without the settings and extcaps of the user who runs the tests.
        _write_preferences(top)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(top),
            "TMPDIR": str(self.temporary),
            "LC_ALL": "C.UTF-8",
        }

    def command(self, space: Namespace, *command: str) -> list[str]:
        """Return the command that runs a program of Wireshark in a namespace."""
        cover = ("sh", "-c", COVER, str(self._extcaps), global_folder())
        return space.command(*cover, *command)

    def run(
        self, space: Namespace, *command: str, check: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        """Run a program of Wireshark to its end."""
        return subprocess.run(
            self.command(space, *command),
            check=check,
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=running.DEADLINE_S,
        )


@dataclass
class Captures:
    """Running captures that Wireshark, or a test, has started."""

    process: "subprocess.Popen[str]"  # tshark, or the front itself
    fronts: list[int]
    engines: list[int]
    programs: set[int]
    space: Namespace
    _alive: list[int]  # pidfds

    def interrupt(self) -> None:
        """Signal the whole process group, as Ctrl-C does."""
        os.killpg(self.process.pid, signal.SIGINT)

    def finish(self) -> tuple[str, str]:
        """Wait for the end; return stdout and stderr."""
        return self.process.communicate(timeout=running.DEADLINE_S)

    def left(self) -> list[str]:
        """Wait until the processes end; return those that do not."""
        found = [f"process {fd}" for fd in self._alive if not _ended(fd)]
        with contextlib.suppress(AssertionError):
            running.until(
                lambda: not any(map(bpf.program_exists, self.programs)), "programs"
            )
        found += [f"program {i}" for i in self.programs if bpf.program_exists(i)]
        return found + tc.left(self.space)


@contextlib.contextmanager
def watch(
    space: Namespace, command: list[str], logs: "list[Log]", env: dict[str, str]
) -> Iterator[Captures]:
    """Start a command; yield its captures when all of them are ready."""
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        process_group=0,
    ) as process:
        alive: list[int] = []
        try:
            for log in logs:
                log.wait_for("ready")
            family = _family(process.pid)
            fronts = [pid for pid in family if "--capture" in _arguments(pid)]
            engines = [pid for front in fronts for pid in _engines(front)]
            assert len(fronts) == len(engines) == len(logs)
            alive += map(os.pidfd_open, [*fronts, *engines])
            programs = set().union(*map(bpf.programs_of, engines))
            assert len(programs) >= 2 * len(engines)
            yield Captures(process, fronts, engines, programs, space, alive)
        finally:
            for fd in alive:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
                os.close(fd)
            process.kill()


def _options(device: str, log: "Log") -> tuple[str, ...]:
    preference = f"extcap.tccap_{device}"
    file = ("-o", f"{preference}.logfile:{log.path}")
    return ("-i", f"tccap-{device}", *file, "-o", f"{preference}.loglevel:debug")


@contextlib.contextmanager
def tshark(
    wireshark: Wireshark,
    space: Namespace,
    *options: str,
    devices: tuple[str, ...] = ("veth0",),
) -> Iterator["Captures"]:
    """Yield a tshark whose captures are ready."""
    with contextlib.ExitStack() as stack:
        command = ["tshark", "-l"]
        logs = []
        for device in devices:
            logs.append(Log(wireshark.temporary))
            stack.callback(logs[-1].close)
            command += _options(device, logs[-1])
        full = wireshark.command(space, *command, *options)
        yield stack.enter_context(watch(space, full, logs, wireshark.environment))


class Log:
    """A log file whose lines can be read at once: a FIFO."""

    def __init__(self, folder: Path) -> None:
        self.path = Path(tempfile.mkdtemp(dir=folder)) / "log"
        os.mkfifo(self.path)
        self._fd = os.open(self.path, os.O_RDWR)  # so that it never ends
        self.text = ""

    def wait_for(self, word: str) -> None:
        """Return when the word was written."""
        deadline = time.monotonic() + running.DEADLINE_S
        while word not in self.text:
            left_s = max(0, deadline - time.monotonic())
            assert select.select([self._fd], [], [], left_s)[0], self.text
            self.text += os.read(self._fd, 1 << 16).decode()

    def has(self, word: str) -> bool:
        """Return whether the word was written by now."""
        while select.select([self._fd], [], [], 0)[0]:
            self.text += os.read(self._fd, 1 << 16).decode()
        return word in self.text

    def close(self) -> None:
        """Close the FIFO, and remove it."""
        os.close(self._fd)
        self.path.unlink()
        self.path.parent.rmdir()


@contextlib.contextmanager
def front(
    space: Namespace,
    folder: Path,
    *options: str,
    device: str = "veth0",
    prefix: tuple[str, ...] = ("env", "--default-signal=INT,HUP"),
) -> Iterator[tuple[Captures, running.Collector]]:
    """Yield a capture by the front alone, and the output of its FIFO.

    ``prefix`` runs the command; by default a terminal's signals are not ignored,
    whatever runs the tests.
    """
    log = Log(folder)
    fifo = log.path.with_name("fifo")
    os.mkfifo(fifo)
    arguments = ("--capture", "--extcap-interface", f"tccap-{device}")
    verbose = ("--log-file", str(log.path), "--log-level", "debug")
    command = [*prefix, SCRIPT, *arguments, "--fifo", str(fifo), *verbose, *options]
    reader = os.fdopen(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), "rb")
    os.set_blocking(reader.fileno(), True)
    try:
        with watch(space, space.command(*command), [log], {**os.environ}) as captures:
            output = running.Collector(reader)
            yield captures, output
        output.rest()
    finally:
        reader.close()
        fifo.unlink()
        log.close()


@cache
def global_folder() -> str:
    """Return the folder of the extcaps that Wireshark itself has."""
    done = subprocess.run(
        ["tshark", "-G", "folders"], check=True, capture_output=True, text=True
    )
    match = re.search(r"^(?:Global )?Extcap path:\s*(\S+)", done.stdout, re.MULTILINE)
    assert match, done.stdout
    return match[1]


def _ended(pidfd: int) -> bool:
    return bool(select.select([pidfd], [], [], running.DEADLINE_S)[0])


def _family(pid: int) -> list[int]:
    """Return the descendants of a process, and itself."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            parents[int(path.parent.name)] = int(fields[1])
    found = [pid]
    for member in found:
        found += [child for child, parent in parents.items() if parent == member]
    return found


def _engines(front: int) -> list[int]:
    """Return the engine of a front, without the engine's own children."""
    children = Path(f"/proc/{front}/task/{front}/children").read_text().split()
    return [pid for pid in map(int, children) if _arguments(pid)[-1:] == ["engine"]]


def _arguments(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError):
        return []  # it has ended


def _write_preferences(home: Path) -> None:
    folder = home / ".config" / "wireshark"
    folder.mkdir(parents=True)
    (folder / "preferences").write_text(PREFERENCES)
