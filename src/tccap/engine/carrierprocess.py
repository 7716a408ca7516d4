"""The carrier: a process without rights that carries blocks to the stream.

What it reads, others have made: packets, secrets out of the memory of programs, lines
of a key log. So it has the maps of the ring, a few other maps and the stream, and
nothing else. The engine stays its parent: it attaches programs, sets probes and reads
/proc.

If one of the two is killed, the other ends: the kernel kills the carrier with the
engine (PR_SET_PDEATHSIG), and the engine sees the end of the channel.
"""

import gc
import os
import resource
import select
import signal
from collections.abc import Callable, Iterable
from typing import Final

from tccap.errors import TccapError
from tccap.host import descriptors, sandbox
from tccap.ipc import channel
from tccap.ipc.channel import Channel
from tccap.ipc.status import Error, report

# linux/capability.h: maps before Linux 5.19, where unprivileged users may not use
# bpf(2) at all; and not being preempted while a map is used.
KEPT: Final = {39: "BPF", 23: "SYS_NICE"}
END_S = 2.0  # how long it may take to end when it has closed the channel
_STANDARD = (0, 1, 2)
_STREAM = 1


class CarrierProcess:
    """The carrier, from its start on; ``channel`` leads to it.

    ``run`` gets its end of the channel and returns its exit status, in a process that
    has no other descriptors than the standard ones and those of ``keeps``.
    """

    def __init__(self, run: Callable[[Channel], int], keeps: Iterable[int]) -> None:
        self.channel, theirs = channel.pair()
        self._pid = os.fork()
        if self._pid == 0:
            _child(run, theirs, {*keeps})
        theirs.close()
        self._is_running = True
        _leave_stream()

    def wait(self) -> int:
        """Return the exit status, once the channel is closed; report if it was killed.

        It closes the channel by ending; if it goes on, it is killed.
        """
        if not _ends_within(self._pid, END_S):
            os.kill(self._pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(self._wait())
        if status >= 0:
            return status
        name = signal.Signals(-status).name
        report(Error(f"The process that writes the packets was ended by {name}."))
        return 1

    def end(self) -> None:
        """Kill it, unless it has ended."""
        if self._is_running:
            os.kill(self._pid, signal.SIGKILL)
            self._wait()
        self.channel.close()

    def _wait(self) -> int:
        status = os.waitpid(self._pid, 0)[1]
        self._is_running = False
        return status


def confine(engine: int) -> None:
    """Give up all rights; TccapError if the kernel refuses that.

    ``engine`` is the process that this one ends with.
    """
    try:
        limits = {resource.RLIMIT_NPROC: 0}
        sandbox.enter(None, limits, sandbox.CARRYING, KEPT)
    except OSError as error:
        raise TccapError(
            f"tccap could not give up its privileges ({error.strerror}): run "
            "'tccap check' to see what this machine lacks."
        ) from None
    if os.getppid() != engine:  # it ended before we were to end with it
        os._exit(1)


def _child(run: Callable[[Channel], int], theirs: Channel, keeps: set[int]) -> None:
    status = 1
    try:
        # Objects of the engine must not close descriptors that are ours by now.
        gc.freeze()
        descriptors.close_all_but({*_STANDARD, *keeps, theirs.fileno()})
        status = run(theirs)
    finally:
        # On any exception, too: the exit handlers are the parent's.
        os._exit(status)


def _ends_within(pid: int, timeout_s: float) -> bool:
    process_fd = os.pidfd_open(pid)
    try:
        end = select.poll()
        end.register(process_fd, select.POLLIN)
        return bool(end.poll(1000 * timeout_s))
    finally:
        os.close(process_fd)


def _leave_stream() -> None:
    """Leave the stream to the carrier: the reader waits until all have closed it."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, _STREAM)
    os.close(null)
