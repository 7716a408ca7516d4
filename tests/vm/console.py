"""Output to the terminal."""

import sys
from collections.abc import Iterable


def write(lines: Iterable[str], of: str = "") -> None:
    """Print lines, each with its kernel's name: machines share a terminal.

    In one write, and flushed: else output through a pipe would come late, or mix
    the lines of two machines.
    """
    mark = f"{of} | " if of else ""
    sys.stdout.write("".join(f"{mark}{line}\n" for line in lines))
    sys.stdout.flush()
