"""One capture, as the front sees it: open the FIFO, run the engine, stop it.

Packets do not pass through here. What comes here are Wireshark's signals and its
death, answered by closing the engine's stdin, and the engine's status lines.
"""

import argparse
import contextlib
import logging
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from tccap.errors import TccapError
from tccap.front import launcher, options, request
from tccap.front.keylogfile import KeylogFile
from tccap.front.options import Options
from tccap.ipc import status

# Wireshark waits 30 s after its SIGTERM; an engine that hangs must not. One that
# was started through sudo can only end itself, which it does before this.
STOP_DEADLINE_S = 20
LINES_LEN = 1 << 16
_LEVELS = {
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
}
_log = logging.getLogger("tccap")
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def capture(arguments: argparse.Namespace) -> int:
    """Serve --capture until it is stopped; return the exit status."""
    _on_stop_signals(lambda *_: sys.exit(0))
    # Before anything can fail: Wireshark 4.0 waits for ever for a writer.
    stream_fd = _open_stream(arguments.fifo)
    chosen = options.from_arguments(arguments)
    _start_log(chosen)
    box_filter = arguments.extcap_capture_filter or ""
    the_plan = request.plan(arguments.extcap_interface, box_filter, chosen)
    # From here on: what an earlier connection has left there is of no use.
    keys = KeylogFile(chosen.keylog_file) if chosen.keylog_file else None
    engine = launcher.start(stream_fd)
    os.close(stream_fd)
    _Supervisor(engine, keys).run(the_plan.to_json())
    return 0


class _Supervisor:
    """Watches one engine."""

    def __init__(
        self, engine: "subprocess.Popen[bytes]", keys: KeylogFile | None = None
    ) -> None:
        self._engine = engine
        self._keys = keys
        self._lost = 0
        self._received = 0
        self._complete = True
        self._undelivered = 0
        self._error = ""
        self._spoke = False  # it is an engine that runs, and not only sudo
        self._output: list[str] = []

    def run(self, plan_json: str) -> None:
        """Return when the engine has ended; TccapError if it could not capture."""
        _on_stop_signals(self._stop)
        signal.signal(signal.SIGALRM, self._give_up)
        assert self._engine.stdin is not None
        launcher.send_plan(self._engine.stdin, plan_json)
        for line in self._lines():
            self._heed(status.parse(line.decode(errors="replace")))
        exit_status = self._engine.wait()
        signal.alarm(0)
        if exit_status < 0:
            with contextlib.suppress(TccapError):
                launcher.sweep()
            self._error = f"The engine was ended by signal {-exit_status}."
        self._tell_losses()
        if exit_status != 0:
            raise TccapError(self._error or self._silence())

    def _lines(self) -> Iterator[bytes]:
        """Give the engine's lines; meanwhile hand on what the key log gets."""
        assert self._engine.stderr is not None
        stderr_fd = self._engine.stderr.fileno()
        poller = select.poll()
        poller.register(stderr_fd, select.POLLIN)
        if self._keys:
            poller.register(self._keys.fd, select.POLLIN)
        parent_fd = _parent()
        if parent_fd is not None:
            poller.register(parent_fd, select.POLLIN)
        rest = b""
        while True:
            ready = {fd for fd, _ in poller.poll()}
            if parent_fd is not None and parent_fd in ready:
                poller.unregister(parent_fd)
                self._stop()
            if self._keys and self._keys.fd in ready:
                self._hand_on(self._keys)
            if stderr_fd in ready:
                text = os.read(stderr_fd, LINES_LEN)
                if not text:
                    return
                *lines, rest = (rest + text).split(b"\n")
                yield from lines

    def _hand_on(self, keys: KeylogFile) -> None:
        for text in keys.new_text():
            with contextlib.suppress(OSError, ValueError):  # the engine has ended
                self._engine.stdin.write(text)  # type: ignore[union-attr]
                self._engine.stdin.flush()  # type: ignore[union-attr]

    def _stop(self, *_: object) -> None:
        signal.alarm(STOP_DEADLINE_S)
        with contextlib.suppress(OSError):
            self._engine.stdin.close()  # type: ignore[union-attr]  # it is a pipe

    def _give_up(self, *_: object) -> None:
        try:
            self._engine.kill()
        except PermissionError:
            raise TccapError("The engine does not end.") from None

    def _silence(self) -> str:
        if self._spoke:
            return "The engine ended without a reason."
        return launcher.explain("\n".join(self._output))

    def _heed(self, event: dict[str, Any]) -> None:
        level = _LEVELS.get(event.pop("level", "info"), logging.INFO)
        kind = event.pop("event")
        _log.log(level, "%s %s", kind, event.get("message") or event)
        if kind == "output":
            self._output.append(event["message"])
        else:
            self._spoke = True
        if kind == "error":
            self._error = str(event.get("message"))
        elif kind == "lost":
            self._lost = int(event["packets"])
        elif kind == "end":
            self._lost = int(event["dropped"])
            self._received = int(event["accepted"])
            self._complete = bool(event["complete"])
            self._undelivered = int(event["undelivered"])

    def _tell_losses(self) -> None:
        if self._lost:
            of_all = f" of {self._received}" if self._received else ""
            _warn(
                f"{self._lost}{of_all} packets were lost because the reader was too "
                "slow; a larger ring size or a capture filter helps."
            )
        if not self._complete:
            _warn(
                f"The last {self._undelivered} packets were lost because the reader "
                "did not take them before the end."
            )


def _parent() -> int | None:
    """Return a pidfd of Wireshark, or None if it cannot be seen from here.

    A Wireshark that is killed sends no signal, and its dumpcap reads on until the
    next packet, which may never come.
    """
    try:
        return os.pidfd_open(os.getppid())
    except OSError:  # it is outside of our PID namespace
        return None


def _warn(message: str) -> None:
    # Wireshark shows a line with this mark as a warning, without what is
    # before the two dashes.
    print(f"[tccap WARNING] -- {message}", file=sys.stderr)  # noqa: T201
    _log.warning(message)


def _on_stop_signals(handler: Any) -> None:
    for number in _STOP_SIGNALS:
        signal.signal(number, handler)


def _open_stream(path: str | None) -> int:
    if not path:
        raise TccapError("--capture wants --fifo: Wireshark gives it.")
    try:
        return os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    except OSError as error:
        raise TccapError(f"{path} cannot be written: {error.strerror}.") from None


def _start_log(chosen: Options) -> None:
    if not chosen.log_file:
        logging.disable()
        return
    try:
        logging.basicConfig(
            filename=chosen.log_file,
            level=_LEVELS[chosen.log_level],
            format="%(asctime)s %(levelname)s %(message)s",
        )
    except OSError as error:
        raise TccapError(
            f"The log file {chosen.log_file} cannot be written: {error.strerror}."
        ) from None
