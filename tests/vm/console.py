"""What the person at the terminal sees."""

import sys
from collections.abc import Iterable


def say(lines: Iterable[str], of: str = "") -> None:
    """Print lines, each marked with the kernel they are of; machines share a terminal.

    At once and as a whole: output through a pipe would otherwise come late, or
    with the lines of two machines mixed up.
    """
    mark = f"{of} | " if of else ""
    sys.stdout.write("".join(f"{mark}{line}\n" for line in lines))
    sys.stdout.flush()
