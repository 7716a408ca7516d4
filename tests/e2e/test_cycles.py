"""Again and again: nothing may be left of a capture, however it ended.

Twice, and one kill of each, by default; ``make cycles`` does it a thousand times.
"""

import os
import signal
import sys
from pathlib import Path

import pytest

from support import netns
from support.wireshark import front

CYCLES = int(os.environ.get("TCCAP_CYCLES", "2"))
KILLS = int(os.environ.get("TCCAP_KILLS", "1"))


def _print_progress(what: str, done: int, of: int, left: list[str]) -> None:
    sys.stdout.write(f"\r{what}: {done} of {of}, {len(left)} things left behind")
    sys.stdout.flush()


@pytest.mark.timeout(0 if CYCLES > 100 else 600)
@pytest.mark.parametrize(
    ("ending", "count"), [("stop", CYCLES), ("front", KILLS), ("engine", KILLS)]
)
def test_nothing_is_left(
    pair: netns.Pair, folder: Path, ending: str, count: int
) -> None:
    left: list[str] = []
    for number in range(count):
        with front(pair.near, folder) as (captures, _):
            if ending == "stop":
                captures.process.terminate()
            else:
                (pid,) = captures.fronts if ending == "front" else captures.engines
                os.kill(pid, signal.SIGKILL)
            captures.finish()
            left += captures.left()
        _print_progress(ending, number + 1, count, left)
    left += [str(path) for path in folder.iterdir()]
    assert left == []
