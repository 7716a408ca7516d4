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
    """Return the event of a line; what is none, as sudo's words, is ``output``."""
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    if isinstance(event, dict) and isinstance(event.get("event"), str):
        return event
    return {"event": "output", "level": "debug", "message": line.rstrip()}
