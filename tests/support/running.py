"""Runs captures and returns their frames: tccap's, and tcpdump's beside it.

Nothing here sleeps: a capture has begun when its status says ``ready``, and a
packet has been seen when its bytes are in the stream.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from support import stream
from support.netns import Namespace
from tccap.front import options, request
from tccap.paths import SCRIPT, engine_python

# Seconds become minutes in an emulated machine.
DEADLINE_S = float(os.environ.get("TCCAP_DEADLINE_S", "120"))
WITHOUT_TCX = str(Path(__file__).with_name("engine_without_tcx.py"))
WEAK_ORDER = str(Path(__file__).with_name("engine_weak_order.py"))
# Without processes and TLS, which have their own tests: the programs compile in a
# fraction of the time, which matters for many tests on slow machines.
_CHOSEN = options.Options()._replace(label="off", tls="off")
PLAN = asdict(request.plan("tccap-any", "", _CHOSEN))


class Collector:
    """Reads a descriptor to its end, in a thread."""

    def __init__(self, source: IO[bytes]) -> None:
        self._data = bytearray()
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, args=(source,), daemon=True)
        self._thread.start()

    def wait_for(self, needle: bytes) -> None:
        """Return when the bytes were read."""
        with self._changed:
            self._changed.wait_for(
                lambda: needle in self._data or self._ended, DEADLINE_S
            )
            assert needle in self._data, f"{needle!r} never came: {self._tail()}"

    def rest(self) -> bytes:
        """Return everything, once the other side has closed."""
        self._thread.join(DEADLINE_S)
        assert self._ended
        return bytes(self._data)

    def wait_for_end(self, timeout_s: float) -> bool:
        """Wait for the other side to close; return whether it has."""
        self._thread.join(timeout_s)
        return self._ended

    def so_far(self) -> bytes:
        """Return the bytes that were read so far."""
        with self._changed:
            return bytes(self._data)

    def _tail(self) -> str:
        return bytes(self._data[-2000:]).decode(errors="replace")

    def _read(self, source: IO[bytes]) -> None:
        while data := os.read(source.fileno(), 1 << 20):
            with self._changed:
                self._data += data
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class Engine:
    """An engine that is capturing."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", output: Collector | None
    ) -> None:
        assert process.stderr is not None
        self.process = process
        self.output = output
        self._status = Collector(process.stderr)

    def wait_for(self, text: str) -> None:
        """Return when the engine's status has shown the text."""
        self._status.wait_for(text.encode())

    def events(self) -> list[dict[str, Any]]:
        """Return the status events so far."""
        return [json.loads(line) for line in self._status.so_far().splitlines()]

    def close_stdin(self) -> None:
        """Ask for the end, as the front does."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def end(self) -> dict[str, Any]:
        """Stop; return the engine's last event."""
        self.close_stdin()
        assert self.process.wait(DEADLINE_S) == 0, self._status.rest().decode()
        self._status.rest()
        return next(e for e in self.events() if e["event"] == "end")

    def stop(self) -> stream.Stream:
        """Stop; return the stream."""
        self.end()
        return self.whole()

    def join(self) -> None:
        """Return when a killed engine has closed its pipes."""
        for collector in filter(None, (self.output, self._status)):
            collector.rest()

    def whole(self) -> stream.Stream:
        """Return the stream of an engine that has ended."""
        assert self.output is not None
        return stream.parse(self.output.rest())

    def stop_after(self, marker: bytes) -> stream.Stream:
        """Stop when the stream holds the marker; return the stream."""
        assert self.output is not None
        self.output.wait_for(marker)
        return self.stop()


def carrier(engine: int) -> int:
    """Return the process that carries the packets of an engine."""
    children = Path(f"/proc/{engine}/task/{engine}/children").read_text().split()
    names = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children}
    own = Path(f"/proc/{engine}/cmdline").read_bytes()
    [found] = [int(pid) for pid, name in names.items() if name == own]
    return found


def engine_command(*, without_tcx: bool = False, weak_order: bool = False) -> list[str]:
    """Return the command of an engine.

    On request without TCX, as before Linux 6.6, or as on processors other than x86.
    """
    if without_tcx or weak_order:
        return [engine_python(), "-I", WITHOUT_TCX if without_tcx else WEAK_ORDER]
    return [engine_python(), "-I", SCRIPT, "engine"]


@contextlib.contextmanager
def engine(  # noqa: PLR0913  # the ways in which tests start one
    space: Namespace,
    device: str,
    *,
    stdout: int | None = None,
    without_tcx: bool = False,
    weak_order: bool = False,
    begun: str = '"ready"',
    env: dict[str, str] | None = None,
    **changes: Any,
) -> Iterator[Engine]:
    """Yield an engine that has reported ``begun``; its stream may go to ``stdout``.

    ``env`` is added to its environment.
    """
    with subprocess.Popen(
        space.command(*engine_command(without_tcx=without_tcx, weak_order=weak_order)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.PIPE,
        env={**os.environ, **(env or {})},
    ) as process:
        assert process.stdin is not None
        running = Engine(process, Collector(process.stdout) if process.stdout else None)
        try:
            text = json.dumps({**PLAN, "device": device, **changes})
            process.stdin.write(text.encode() + b"\n")
            process.stdin.flush()
            running.wait_for(begun)
            yield running
        finally:
            process.kill()
            running.join()


class Tcpdump:
    """A tcpdump that is capturing."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._output = Collector(process.stdout)
        self._messages = Collector(process.stderr)
        self._messages.wait_for(b"listening on")

    def join(self) -> None:
        """Return when a killed tcpdump has closed its pipes."""
        self._output.rest()
        self._messages.rest()

    def stop_after(self, marker: bytes) -> list[bytes]:
        """Stop when it has seen the marker; return the frames."""
        self._output.wait_for(marker)
        self._process.terminate()
        frames = stream.pcap(self._output.rest())
        assert b"\n0 packets dropped by kernel" in self._messages.rest()
        return frames


@contextlib.contextmanager
def tcpdump(space: Namespace, device: str) -> Iterator[Tcpdump]:
    """Yield a tcpdump that is ready; frames up to 70 kB are whole."""
    # Immediate mode has a slot of this length for every frame.
    sizes = ("-s", "70000", "-B", "65536")
    command = ("tcpdump", "-i", device, "-w", "-", "-U", "--immediate-mode", *sizes)
    with subprocess.Popen(
        space.command(*command), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        running = Tcpdump(process)
        try:
            yield running
        finally:
            process.kill()
            running.join()


@contextlib.contextmanager
def started(command: list[str]) -> "Iterator[subprocess.Popen[bytes]]":
    """Yield a process that is killed at the end of the block, even on failure."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def until(condition: Any, what: str) -> None:
    """Poll for a condition for which the kernel has no event."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)


def python(*code: str) -> list[str]:
    """Return the command that runs some Python."""
    return [sys.executable, "-c", "\n".join(code)]
