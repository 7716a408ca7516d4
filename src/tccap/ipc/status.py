"""What the engine tells the front: one JSON object a line, on its stderr."""

import contextlib
import json
import os
from typing import Any

STATUS_FD = 2


def report(event: str, **details: Any) -> None:
    """Send one event; a front that is gone is no reason to fail.

    Events: ``ready`` (capturing), ``timing`` (seconds by step), ``log``
    (level, message), ``error`` (message: the capture ends), ``lost`` (packets,
    so far), ``end`` (received, captured, dropped).
    """
    line = json.dumps({"event": event, **details}) + "\n"
    with contextlib.suppress(OSError):
        os.write(STATUS_FD, line.encode())


def log(level: str, message: str) -> None:
    """Send a line for the log file."""
    report("log", level=level, message=message)


def parse(line: str) -> dict[str, Any]:
    """Return the event of a line; other lines, such as sudo's, become ``output``.

    Messages are safe to print: names and paths in them may hold control characters.
    """
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        event = {"event": "output", "level": "debug", "message": line.rstrip()}
    return {key: _printable(value) for key, value in event.items()}


def _printable(value: Any) -> Any:
    """Escape what is not printable in a text, and indent all lines but the first.

    So no line of a log can pass for another entry.
    """
    if not isinstance(value, str):
        return value
    lines = value.split("\n")
    return "\n    ".join("".join(map(_escaped, line)) for line in lines)


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")
