"""Answers on stdout: to Wireshark's short calls, and to people.

It imports nothing else, as the listings need it (listing.py).
"""

import os
import sys


def write(text: str) -> bool:
    """Write an answer; return whether it was written, after a sentence if not."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard()
        return False
    except OSError as error:
        _discard()
        print(f"stdout cannot be written: {error.strerror}.", file=sys.stderr)  # noqa: T201
        return False
    return True


def _discard() -> None:
    """Leave the rest unwritten, which Python would else try, and report, at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
