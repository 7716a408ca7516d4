"""What the engine reports to the front: one JSON object a line, on its stderr.

An event is the class's name in the table below, under ``event``, and the
fields of the class. The reader checks the type of each field, and ignores
fields that it does not know: an engine newer than its front can add some, and
an error must still be readable. Any other line, such as a message of
sudo or a Python traceback, is Output.
"""

import contextlib
import json
import os
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal, get_args, get_origin

from tccap.ipc.values import Level

STATUS_FD = 2


@dataclass(frozen=True)
class Ready:
    """The engine captures from now on."""


@dataclass(frozen=True)
class Timing:
    """How long a step of the start or of the end took."""

    step: str
    seconds: float


@dataclass(frozen=True)
class Log:
    """A line for the log file."""

    level: Level
    message: str


@dataclass(frozen=True)
class Error:
    """Why the capture ends; one sentence for the user."""

    message: str


@dataclass(frozen=True)
class Lost:
    """How many packets were lost so far, because the ring was full."""

    packets: int


@dataclass(frozen=True)
class End:
    """What happened to the packets of all interfaces; the stream is complete or not."""

    received: int
    accepted: int  # by the filters
    dropped: int  # because the ring was full
    unattributed: int  # owner unknown, so a process filter passed them over
    complete: bool  # the reader took everything
    undelivered: int  # packets that it did not take
    overflowed_sockets: int = 0  # owners that found no room in their table
    unrecorded_sockets: int = 0  # owners for which the kernel had no memory
    overflowed_processes: int = 0  # packets without a label: their process was evicted


@dataclass(frozen=True)
class TlsReady:
    """Every process that was running has been searched for TLS libraries."""


@dataclass(frozen=True)
class TlsProbes:
    """A file was inspected, and so many probes were set in it."""

    path: str
    probes: int


@dataclass(frozen=True)
class TlsDetached:
    """A file changed or was deleted, and lost so many probes."""

    path: str
    detached: int


@dataclass(frozen=True)
class TlsCounts:
    """At the end: the counts of tccap.tls.hold, by their names."""

    counts: dict[str, float]


@dataclass(frozen=True)
class Output:
    """A line that is no event."""

    text: str


Event = (
    Ready
    | Timing
    | Log
    | Error
    | Lost
    | End
    | TlsReady
    | TlsProbes
    | TlsDetached
    | TlsCounts
)
_EVENTS: Final[dict[str, type[Event]]] = {
    "ready": Ready,
    "timing": Timing,
    "log": Log,
    "error": Error,
    "lost": Lost,
    "end": End,
    "tls_ready": TlsReady,
    "tls_probes": TlsProbes,
    "tls_detached": TlsDetached,
    "tls_counts": TlsCounts,
}
_NAMES: Final = {kind: name for name, kind in _EVENTS.items()}


def report(event: Event) -> None:
    """Send one event; a front that has exited is not an error."""
    line = json.dumps({"event": name(event), **asdict(event)}) + "\n"
    with contextlib.suppress(OSError):
        os.write(STATUS_FD, line.encode())


def log(level: Level, message: str) -> None:
    """Send a line for the log file."""
    report(Log(level, message))


class Warnings:
    """Warnings of one part of the program: each is logged once."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def say(self, message: str) -> None:
        """Log a warning, unless it was."""
        if message not in self._said:
            self._said.add(message)
            log("warning", message)


def name(event: Event) -> str:
    """Return what an event is called in its line, and in the log."""
    return _NAMES[type(event)]


def parse(line: str) -> Event | Output:
    """Return the event of a line, or the line as Output.

    Its texts are safe to print: names and paths in them may hold control characters.
    """
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        values = None
    return _event(values) or Output(_printable(line.rstrip()))


def _event(values: Any) -> Event | None:
    if not isinstance(values, dict) or not isinstance(values.get("event"), str):
        return None
    kind = _EVENTS.get(values["event"])
    if kind is None:
        return None
    types = {field.name: field.type for field in fields(kind)}
    known = {key: _printable(values[key]) for key in types if key in values}
    if len(known) < len(types) or not all(_fits(known[k], types[k]) for k in types):
        return None
    return kind(**known)


def _fits(value: object, wanted: Any) -> bool:
    """Return whether a value of JSON has the type of a field; a bool is no int."""
    if get_origin(wanted) is Literal:
        return value in get_args(wanted)
    if get_origin(wanted) is dict:
        return isinstance(value, dict) and all(
            type(number) in (int, float) for number in value.values()
        )
    return type(value) is wanted


def _printable(value: Any) -> Any:
    """Escape what is not printable in a text, and indent all lines but the first.

    So no line of a log can pass for another entry.
    """
    if not isinstance(value, str):
        return value
    return "\n    ".join(map(escaped, value.split("\n")))


def escaped(text: str) -> str:
    """Return a text without characters that are not printable, such as a line's end."""
    return "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")
