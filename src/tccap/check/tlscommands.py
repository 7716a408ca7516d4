"""`tccap tls list`, `tccap tls inspect` and `tccap tls scan`: how they begin and fail.

Each yields lines; names and paths in them may hold control characters, also those of
files that are only looked at.
"""

import os
import signal
import sys
from collections.abc import Iterator

from tccap.check import inspection, running, scanning
from tccap.errors import TccapError
from tccap.ipc import status

_USAGE = "Use tccap tls list, tccap tls inspect FILE or tccap tls scan [DIR...]."


def main(arguments: list[str]) -> int:
    """Run a command; return 0, 1 if a file gives no secrets, or 2 on an error."""
    # The reader may stop (| head), and the user may give up (Ctrl-C): quietly.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return _run(arguments)
    except TccapError as error:
        sys.stderr.write(f"{status.escaped(str(error))}\n")
        return 2


def _run(arguments: list[str]) -> int:
    match arguments:
        case ["list"]:
            _need_root("list")
            _print(running.lines())
        case ["scan", *folders]:
            _need_root("scan")
            _print(scanning.lines(folders))
        case ["inspect", path]:
            answer = inspection.inspect(path)
            _print(iter(inspection.describe(answer)))
            return 0 if answer.sites else 1
        case _:
            raise TccapError(_USAGE)
    return 0


def _need_root(command: str) -> None:
    if os.geteuid() != 0:
        raise TccapError(f"Only root sees all programs: run sudo tccap tls {command}.")


def _print(lines: Iterator[str]) -> None:
    for line in lines:
        sys.stdout.write(f"{status.escaped(line)}\n")
        sys.stdout.flush()
