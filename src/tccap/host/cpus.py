"""CPUs: how many there are, and what runs on them meanwhile."""

import contextlib
import functools
import os
from collections.abc import Iterator
from pathlib import Path

# The system call membarrier, by machine (uname).
from tccap.host import libc

_MEMBARRIER = {"x86_64": 324, "aarch64": 283}
_MEMBARRIER_CMD_GLOBAL = 1


@functools.cache
def possible_cpus() -> int:
    """Return how many CPUs the kernel may ever number."""
    ranges = Path("/sys/devices/system/cpu/possible").read_text("ascii").split(",")
    return int(ranges[-1].split("-")[-1]) + 1


@contextlib.contextmanager
def not_preempted() -> Iterator[None]:
    """Let no other process run on this CPU while we use a map by system calls.

    The kernel skips kprobe programs on a CPU in the middle of such a call
    (bpf_disable_instrumentation) but may run other processes there, whose use of
    sockets would then go unseen. Without the right to it (CAP_SYS_NICE) the gap
    stays; it is small.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def wait_for_rcu_readers() -> None:
    """Return when every RCU read-side section that was running has ended.

    Classifiers run inside such sections. membarrier(2), MEMBARRIER_CMD_GLOBAL, waits
    for an RCU grace period.
    """
    number = _MEMBARRIER[os.uname().machine]
    libc.call("syscall", number, _MEMBARRIER_CMD_GLOBAL, 0, 0)
