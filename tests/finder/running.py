"""The finder as its own process, as tccap.inspector runs it, but measured."""

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tccap import inspector
from tccap.paths import SCRIPT, engine_python
from tccap.tlssites import Inspection

SECONDS_MAX = 3
MEMORY_MIB_MAX = 600


@dataclass(frozen=True)
class Measured:
    """What the finder said of a file, and what that took; no answer: it died.

    The kernel counts the memory of whoever starts a process as that process's, too, so
    ``memory_mib`` is at least ours.
    """

    file: Path
    answer: Inspection | None
    status: int
    cpu_s: float
    wall_s: float
    memory_mib: int


def measure(file: Path) -> Measured:
    """Run the finder on a file, without the cache."""
    start = time.monotonic()
    with file.open("rb") as opened:
        process = subprocess.Popen(
            [engine_python(), "-I", SCRIPT, "finder"],
            stdin=opened,
            stdout=subprocess.PIPE,
            env=inspector.ENVIRONMENT,
        )
    assert process.stdout
    with process.stdout:
        text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Measured(
        file,
        Inspection.from_json(text) if process.returncode == 0 else None,
        process.returncode,
        usage.ru_utime + usage.ru_stime,
        time.monotonic() - start,
        usage.ru_maxrss >> 10,
    )
