"""Processes that begin to run a program, as the kernel reports them.

A program that lives for milliseconds may have ended before anything else shows it. It
loads its libraries after the report, so it is looked at several times.
"""

import heapq
import math
import time
from collections.abc import Iterator

from tccap.bpf import progs
from tccap.bpf.collection import Collection
from tccap.bpf.uapi import ProgType
from tccap.host.allowance import Allowance
from tccap.stream import abi
from tccap.stream.ringbuffer import RingBuffer

LOOKS_S = (0.0, 0.004, 0.02, 0.1)  # after the report
SHARE = 0.05  # of one CPU, when looks have taken ...
BURST_S = 0.2
WAITING_MAX = 4096  # processes; further ones are seen when they speak TLS
_PROGRAM, _TRACEPOINT, _RING = "on_new_program", "sched_process_exec", "new_programs"


class Looks:
    """When to look at each process."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, int]] = []  # when, pid, number of the look

    def add(self, pid: int, now: float) -> None:
        """Have a process looked at from now on, unless there are too many."""
        if len(self._due) < WAITING_MAX:
            heapq.heappush(self._due, (now + LOOKS_S[0], pid, 0))

    def take(self, now: float) -> Iterator[int]:
        """Yield the processes that are due."""
        while self._due and self._due[0][0] <= now:
            due, pid, number = heapq.heappop(self._due)
            started = due - LOOKS_S[number]
            for later in range(number + 1, len(LOOKS_S)):
                if started + LOOKS_S[later] > now:  # not several at once if it is late
                    next_look = (started + LOOKS_S[later], pid, later)
                    heapq.heappush(self._due, next_look)
                    break
            yield pid

    @property
    def due(self) -> float:
        """When the next process is due; infinite if none is."""
        return self._due[0][0] if self._due else math.inf


class NewPrograms:
    """The reports; TccapError or OSError if the kernel makes none."""

    def __init__(self, collection: Collection) -> None:
        ring_fd = collection.table(_RING).fd
        self._ring = RingBuffer(ring_fd, abi.NEW_PROGRAM_PAGES * abi.PAGE_LEN)
        self._looks = Looks()
        self._allowance = Allowance(SHARE, BURST_S)
        program_fd = collection.program(_PROGRAM, ProgType.RAW_TRACEPOINT)
        progs.open_raw_tracepoint(program_fd, _TRACEPOINT)

    def fileno(self) -> int:
        """Return the descriptor that is readable when there are reports."""
        return self._ring.fd

    def take(self) -> Iterator[int]:
        """Yield the processes to look at now; what is done with each counts as used.

        Where programs begin so fast that this takes more than its share, some are left
        out: they are seen when they speak TLS.
        """
        now = time.monotonic()
        for pid in self._reported():
            self._looks.add(pid, now)
        for pid in self._looks.take(now):
            if not self._allowance.wait_s():
                with self._allowance.used(time.thread_time):
                    yield pid

    @property
    def due(self) -> float:
        """When `take` has something without a report, by `time.monotonic`."""
        return self._looks.due

    def _reported(self) -> list[int]:
        return [int.from_bytes(record, "little") for record in self._ring.take()[0]]
