"""Closing what a child process has from its parent."""

import os
from collections.abc import Iterable
from typing import Final

# At least: the limit may have been lowered since descriptors were opened.
_LIMIT: Final = 1 << 20


def close_all_but(kept: Iterable[int]) -> None:
    """Close all descriptors of this process but some."""
    below = -1
    for number in sorted(kept):
        if number > below + 1:  # else it would close all
            os.closerange(below + 1, number)
        below = number
    os.closerange(below + 1, max(_LIMIT, os.sysconf("SC_OPEN_MAX")))
