"""The finder as its own process, as tccap.tls.inspector runs it, but measured."""

import concurrent.futures
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tccap.paths import SCRIPT, engine_python
from tccap.tls import inspector
from tccap.tls.sites import Inspection

T = TypeVar("T")
MEMORY_MIB_MAX = 600


def on_all_processors(
    run: Callable[..., T], *arguments: Iterable[object]
) -> Iterator[T]:
    """Yield the result of each run, in the order of the arguments.

    A run starts a process and waits for it; one runs on each processor.
    """
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        yield from pool.map(run, *arguments)


@dataclass(frozen=True)
class Measured:
    """The finder's answer (None: it died), and the time and memory it used.

    A process starts with the peak memory of its parent, so ``memory_mib`` is at least
    ours.
    """

    file: Path
    answer: Inspection | None
    status: int
    cpu_s: float
    memory_mib: int


def measure(file: Path) -> Measured:
    """Run the finder on a file, without the cache."""
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
        usage.ru_maxrss >> 10,
    )
