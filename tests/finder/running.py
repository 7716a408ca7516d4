"""The finder as its own process, as tccap.tls.inspector runs it, but measured."""

import concurrent.futures
import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tccap.tls import inspector
from tccap.tls.finderprocess import FinderProcess
from tccap.tls.sites import Inspection

T = TypeVar("T")
MEMORY_MIB_MAX = 600
ANSWER_LEN_MAX = 1 << 20


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

    A run begins with the memory that its fork server has.
    """

    file: Path
    answer: Inspection | None
    status: int
    cpu_s: float
    memory_mib: int


def measure(file: Path) -> Measured:
    """Run the finder on a file, without the cache."""
    with contextlib.closing(FinderProcess()) as finder, file.open("rb") as opened:
        run = finder.run(opened.fileno(), inspector.TIME_LIMIT_S, ANSWER_LEN_MAX)
    return Measured(
        file,
        Inspection.from_json(run.answer) if run.status == 0 else None,
        run.status,
        run.cpu_s,
        run.memory_kib >> 10,
    )
