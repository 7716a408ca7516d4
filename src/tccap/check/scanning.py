"""`tccap tls scan [DIR...]`: learn the programs of this machine that speak TLS."""

import os
import sys
from pathlib import Path

from tccap.errors import TccapError
from tccap.tls import scan
from tccap.tls.learned import FILES_MAX
from tccap.tls.sites import Inspection


def main(folders: list[str]) -> int:
    """Examine folders and print what was found; return 0, or 2 on an error."""
    try:
        _check(folders)
        learned = sum(_print(*found) for found in scan.scan(folders or [*scan.FOLDERS]))
    except TccapError as error:
        print(error, file=sys.stderr)  # noqa: T201  # where errors go
        return 2
    kept = f"{learned} files are probed from the start of every capture"
    more = f"; only the last {FILES_MAX} are kept" if learned > FILES_MAX else ""
    sys.stdout.write(f"{kept}{more}.\n")
    return 0


def _check(folders: list[str]) -> None:
    if os.geteuid() != 0:
        raise TccapError("Only root can learn programs: run sudo tccap tls scan.")
    for folder in folders:
        if not Path(folder).is_dir():
            raise TccapError(f"{folder} is not a folder.")


def _print(path: str, answer: Inspection) -> bool:
    """Print a line about a file; return whether its secrets can be read."""
    what = answer.library if answer.sites else f"refused: {answer.refusal}"
    shown = path.encode("unicode_escape").decode()
    sys.stdout.write(f"{shown}: {what}\n")
    return bool(answer.sites)
