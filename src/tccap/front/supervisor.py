"""One capture, as the front sees it: open the FIFO, run the engine, stop it.

Packets do not pass through here. The supervisor waits for Wireshark's signals
and its death, answers them by closing the engine's stdin, and reads the engine's
status lines.
"""

import argparse
import contextlib
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tccap.errors import TccapError
from tccap.front import launcher, logfile, named, options, request, signals
from tccap.front.earlyengine import EarlyEngine
from tccap.front.keylogfile import KeylogFile
from tccap.front.logfile import LOG
from tccap.ipc import status
from tccap.ipc.status import End, Error, Event, Lost, Output, Ready

# Wireshark waits 30 s after its SIGTERM, so an engine that hangs is killed before.
# An engine behind sudo can only end itself; it does so earlier.
STOP_DEADLINE_S = 20
LINES_LEN = 1 << 16
# A start without compiling takes half of that.
SLOW_START_S = 1.0


def capture(arguments: argparse.Namespace, early: EarlyEngine) -> int:
    """Serve --capture until it is stopped; return the exit status."""
    with contextlib.ExitStack() as stack:
        stack.callback(early.give_up)
        chosen = options.from_arguments(arguments)
        logfile.start(chosen.log_file, chosen.log_level)
        stack.enter_context(logfile.errors_logged())
        box_filter = arguments.extcap_capture_filter or ""
        the_plan = request.plan(arguments.extcap_interface, box_filter, chosen)
        named.need(the_plan)
        # Follow the key log before the capture starts, so that no line is missed.
        keys = KeylogFile(chosen.keylog_file) if chosen.keylog_file else None
        engine = early.process()
        stack.pop_all()
    with logfile.errors_logged():
        Supervisor(engine, keys).run(the_plan.to_json())
    return 0


def _nothing(_event: Event) -> None:
    pass


class Client(NamedTuple):
    """Whom the capture is for.

    A readable ``stop_fd`` ends it, and so do ``duration_s`` seconds of capturing.
    """

    stop_fd: int | None
    warn: Callable[[str], None]
    on_event: Callable[[Event], None] = _nothing
    duration_s: float | None = None
    on_slow_start: Callable[[str], None] = LOG.warning


def _wireshark() -> Client:
    return Client(stop_fd=_parent(), warn=_warn)


class Supervisor:
    """Watches one engine."""

    def __init__(
        self,
        engine: "subprocess.Popen[bytes]",
        keys: KeylogFile | None = None,
        client: Client | None = None,
    ) -> None:
        self._engine = engine
        self._keys = keys
        self._client = client or _wireshark()
        self._stop_at: float | None = None  # time.monotonic()
        self._slow_at: float | None = time.monotonic() + SLOW_START_S
        self._wakeup_fd = signals.wakeup()
        self._handlers = self._sources()
        self._lost = 0
        self._end: End | None = None
        self._error = ""
        self._has_reported = False  # so the engine itself runs, not only sudo
        self._output: list[str] = []

    def run(self, plan_json: str) -> None:
        """Return when the engine has ended; TccapError if it could not capture."""
        signals.on_stop(_limit_stop)
        signal.signal(signal.SIGALRM, self._on_deadline)
        assert self._engine.stdin is not None
        launcher.send_plan(self._engine.stdin, plan_json)
        for line in self._lines():
            self._take(status.parse(line.decode(errors="replace")))
        exit_status = self._engine.wait()
        signal.alarm(0)
        if exit_status < 0:
            with contextlib.suppress(TccapError):
                launcher.sweep()
            self._error = f"The capturing process was ended by signal {-exit_status}."
        self._warn_of_losses()
        if exit_status != 0:
            raise TccapError(self._error or self._unreported_reason())

    # What can happen, besides the engine's lines.

    def _sources(self) -> dict[int, Callable[[], None]]:
        """Return what to do when a descriptor is readable; the key log comes first."""
        found: dict[int, Callable[[], None]] = {}
        if self._keys:
            found[self._keys.fd] = self._forward_keys
        if self._client.stop_fd is not None:
            found[self._client.stop_fd] = self._stop
        found[self._wakeup_fd] = self._on_signals
        return found

    def _forward_keys(self) -> None:
        assert self._keys is not None
        assert self._engine.stdin is not None
        for text in self._keys.new_text():
            with contextlib.suppress(OSError, ValueError):  # the engine has ended
                self._engine.stdin.write(text)
                self._engine.stdin.flush()

    def _stop(self) -> None:
        self._handlers = {self._wakeup_fd: self._on_signals}
        self._stop_at = self._slow_at = None
        signal.alarm(STOP_DEADLINE_S)
        assert self._engine.stdin is not None
        with contextlib.suppress(OSError):
            self._engine.stdin.close()

    def _on_signals(self) -> None:
        if signals.is_stop(self._wakeup_fd):
            self._stop()

    def _on_deadline(self, *_: object) -> None:
        try:
            self._engine.kill()
        except PermissionError:
            raise TccapError("The capturing process does not end.") from None

    # The engine's lines.

    def _lines(self) -> Iterator[bytes]:
        """Yield the engine's lines until it has ended."""
        assert self._engine.stderr is not None
        stderr_fd = self._engine.stderr.fileno()
        rest = b""
        while True:
            self._wait_for(stderr_fd)
            text = os.read(stderr_fd, LINES_LEN)
            if not text:
                return
            *lines, rest = (rest + text).split(b"\n")
            yield from lines

    def _wait_for(self, wanted_fd: int) -> None:
        """Return when a descriptor is readable; handle the others until then."""
        ready: set[int] = set()
        while wanted_fd not in ready:
            poller = select.poll()
            for fd in (wanted_fd, *self._handlers):
                poller.register(fd, select.POLLIN)
            ready = {fd for fd, _ in poller.poll(self._timeout_ms())}
            self._on_time()
            for handler in [h for fd, h in self._handlers.items() if fd in ready]:
                handler()

    def _timeout_ms(self) -> int | None:
        """Return in how many milliseconds there is something to do; None: never."""
        times = [at for at in (self._stop_at, self._slow_at) if at is not None]
        if not times:
            return None
        return max(0, math.ceil((min(times) - time.monotonic()) * 1000))

    def _on_time(self) -> None:
        now = time.monotonic()
        if self._slow_at is not None and self._slow_at <= now:
            self._slow_at = None
            self._client.on_slow_start(
                "Preparing the capture; packets are not captured yet."
            )
        if self._stop_at is not None and self._stop_at <= now:
            self._stop()

    def _take(self, event: Event | Output) -> None:
        logfile.record(event)
        if not isinstance(event, Output):
            self._has_reported = True
            self._client.on_event(event)
        match event:
            case Ready() | Error():
                self._slow_at = None
        match event:
            case Ready() if self._client.duration_s is not None:
                self._stop_at = time.monotonic() + self._client.duration_s
            case Output(text):
                self._output.append(text)
            case Error(message):
                self._error = message
            case Lost(packets):
                self._lost = packets
            case End():
                self._lost = event.dropped
                self._end = event

    # The end.

    def _unreported_reason(self) -> str:
        if self._has_reported:
            return "The capturing process ended without a reason."
        return launcher.explain("\n".join(self._output))

    def _warn_of_losses(self) -> None:
        end = self._end
        if self._lost:
            of_all = f" of {end.accepted}" if end and end.accepted else ""
            self._client.warn(
                f"{self._lost}{of_all} packets were lost because the reader was too "
                "slow; a larger ring buffer (ring-size) or a capture filter helps."
            )
        if end and not end.complete:
            self._client.warn(
                f"The last {end.undelivered} packets were lost because the reader "
                "did not take them before the end."
            )


def _parent() -> int | None:
    """Return a pidfd of Wireshark, or None if it is outside of our PID namespace.

    A Wireshark that is killed sends no signal, and its dumpcap reads on until the
    next packet, which may never come.
    """
    try:
        return os.pidfd_open(os.getppid())
    except OSError:
        return None


def _limit_stop(*_: object) -> None:
    """Begin the deadline, and leave the rest to `_on_signals`.

    This may have interrupted a write to the engine's stdin, which cannot be closed
    in the middle of that.
    """
    signal.alarm(STOP_DEADLINE_S)


def _warn(message: str) -> None:
    # Wireshark shows a line with this mark as a warning, without what is
    # before the two dashes.
    print(f"[tccap WARNING] -- {message}", file=sys.stderr)  # noqa: T201
    LOG.warning(message)
