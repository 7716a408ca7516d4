"""One capture into a file: the engine, the process that writes, and the counts."""

import os
import sys
from pathlib import Path

from tccap.errors import TccapError
from tccap.front import (
    filewriter,
    launcher,
    listing,
    logfile,
    named,
    request,
    signals,
)
from tccap.front.arguments import Request
from tccap.front.filewriter import FileWriter, Written
from tccap.front.keylogfile import KeylogFile
from tccap.front.supervisor import Client, Supervisor
from tccap.ipc.plan import Plan
from tccap.ipc.status import End, Event, Ready


def capture(asked: Request) -> None:
    """Capture until asked to stop; TccapError says why that was not possible."""
    signals.on_stop(signals.exit_at_once)
    _need_another(asked.file, asked.options.log_file)
    logfile.start(asked.options.log_file, asked.options.log_level)
    with logfile.errors_logged():
        interface = f"{listing.PREFIX}{asked.device}"
        plan = request.plan(interface, asked.filter, asked.options)
        named.need(plan)
        launcher.need_right()  # before a file is made
        _run(asked, plan)


def _run(asked: Request, plan: Plan) -> None:
    keylog = asked.options.keylog_file
    keys = KeylogFile(keylog) if keylog else None
    file_fd = filewriter.open_file(asked.file)
    writer = FileWriter(file_fd, asked.packets_max, asked.file)
    try:
        engine = launcher.start(writer.stream_fd)
    finally:
        os.close(writer.stream_fd)
    console = _Console(asked)
    client = Client(writer.notes_fd, _warn, console.on_event, asked.duration_s, _say)
    failure = None
    try:
        Supervisor(engine, keys, client).run(plan.to_json())
    except TccapError as error:
        failure = error
    written = writer.result()
    console.show_counts(written)
    if failure or written.error:
        raise failure or TccapError(written.error)


def _need_another(file: str, log_file: str) -> None:
    """Raise TccapError if the log would go into the file of the packets."""
    if log_file and Path(log_file).resolve() == Path(file).resolve():
        raise TccapError(f"{file} cannot be the log file, too: name another one.")


class _Console:
    """Shows on stderr that a capture runs, and what became of its packets."""

    def __init__(self, asked: Request) -> None:
        self._asked = asked
        self._is_ready = False
        self._end: End | None = None

    def on_event(self, event: Event) -> None:
        """Take note of the engine's events."""
        match event:
            case Ready():
                self._is_ready = True
                _say(f"Capturing on {self._asked.device}; Ctrl-C ends it.")
            case End():
                self._end = event

    def show_counts(self, written: Written) -> None:
        """Show them, if there was a capture; unknown ones are not shown."""
        if not self._is_ready:
            return
        counts = [f"{written.packets} packets captured"]
        if self._end:
            lost = self._end.dropped + self._end.undelivered
            counts += [f"{self._end.accepted} received by filter", f"{lost} dropped"]
        _say(", ".join(counts))


def _warn(message: str) -> None:
    logfile.LOG.warning(message)
    _say(f"Warning: {message}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201  # packets may be on stdout
