"""One running capture: the loop that carries blocks from the ring to the stream.

Theory of operation. The loop sleeps in epoll until the ring has data, then
takes batches of finished blocks and writes them, pausing a millisecond between
batches that did not fill up, so that many packets share one wake-up. A batch
keeps its place in the ring until the reader has taken it: a slow reader makes
the ring fill up, and what then finds no room is counted by the classifier. When
the stream would block, the loop waits for the reader instead of for the ring.

Stopping is: silence the classifiers (they look their device up, and find it no
more), wait until those that run have ended, carry over the rest of the ring,
write the statistics, close the stream, detach. So the reader has everything
before the slower work of detaching begins.
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future

from tccap.attach import clsact, taps
from tccap.attach.taps import Taps
from tccap.bpf.collection import Kernel, wait_for_programs
from tccap.engine import clock, devices, privileges
from tccap.engine.interfaces import Interfaces
from tccap.errors import TccapError
from tccap.ipc.plan import Plan
from tccap.ipc.status import End, Lost, Ready, Timing, log, report
from tccap.owners.attribution import Attribution
from tccap.stream import abi, blocks
from tccap.stream.abi import Statistics
from tccap.stream.blocks import Section
from tccap.stream.output import Buffer, Output, ReaderGoneError
from tccap.stream.ring import Batch, Ring
from tccap.tls.session import Tls

# Waking up for a few packets costs more than the packets themselves.
BATCHING_S = 0.001
LOSS_REPORT_S = 3.0
# On stop: the kernel ends an engine that does not, as nobody else may.
STOP_DEADLINE_S = 15
CONTROL_LEN = 1 << 16  # what is read at once of what the front sends
# On stop: for how long the reader may take nothing, and how long it may take for all,
# before the rest is given up.
STALL_S = 0.5
REST_S = 8.0


class Capture:
    """A capture from its start to its last block."""

    def __init__(self, plan: Plan, tls: Tls, control_fd: int, stream_fd: int) -> None:
        self._plan = plan
        self._tls = tls
        self._control_fd = control_fd
        self._output = Output(stream_fd)
        self._section = Section(_os_name(), os.uname().machine)
        self._interfaces = Interfaces(plan, self._section, self._send)
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._stopping = False
        self._blocked = False  # the stream is full, the ring has to wait
        self._trouble = ""  # why it stopped by itself
        self._batch: Batch | None = None
        self._told: list[Statistics] = []
        self._told_at = time.monotonic()
        self._uncounted = False  # packets came since the counts were looked at

    def run(self, programs: Future[tuple[Kernel, Attribution]]) -> None:
        """Capture until told to stop; TccapError says why it could not go on."""
        with contextlib.ExitStack() as stack:
            self._watch(self._control_fd, self._on_control)
            self._watch(stack.enter_context(_termination()), self._stop)
            links = stack.enter_context(devices.Watch())
            alarm = stack.enter_context(clock.SetAlarm())
            stack.callback(self._tls.close)
            with contextlib.suppress(ReaderGoneError):
                self._send(self._section.header)
                self._interfaces.discover()
                self._start(*self._compiled(programs), stack)
                self._watch(links.fileno(), lambda: self._on_links(links))
                self._watch(alarm.fileno(), lambda: self._on_clock(alarm))
                self._loop_to_its_end()
                self._finish()
        if self._trouble:
            raise TccapError(self._trouble)

    # Starting.

    def _compiled(
        self, programs: Future[tuple[Kernel, Attribution]]
    ) -> tuple[Kernel, Attribution]:
        """Wait for the compiler; when told to stop, end at once."""
        done_fd = os.eventfd(0, os.EFD_CLOEXEC)
        programs.add_done_callback(lambda _: os.eventfd_write(done_fd, 1))
        self._watch(done_fd, _nothing)
        while not programs.done():
            self._wait(None)
            if self._stopping:
                # Nothing is in the kernel yet, and the compiler does not stop.
                os._exit(0)
        self._epoll.unregister(done_fd)
        return programs.result()

    def _start(
        self, kernel: Kernel, attribution: Attribution, stack: contextlib.ExitStack
    ) -> None:
        started = time.monotonic()
        kernel.load()
        kernel.set_wall_offset(clock.wall_offset_ns())
        self._kernel, self._attribution = kernel, attribution
        self._ring = Ring(kernel.ring_fd, kernel.ring_len)
        attribution.start(kernel, self._section)
        report(Timing("load", time.monotonic() - started))
        started = time.monotonic()
        clsact.sweep()
        programs = {"in": kernel.ingress_fd, "out": kernel.egress_fd}
        self._taps: Taps = stack.enter_context(taps.make(programs))
        self._interfaces.attach(kernel, self._taps)
        report(Timing("attach", time.monotonic() - started))
        self._watch(self._ring.fd, _nothing)
        if self._output.is_pipe:
            self._watch(self._output.fd, _nothing, events=0)
        tracing = self._tls.sets_probes
        privileges.narrow(privileges.TRACING if tracing else privileges.KEPT)
        self._tls.start(kernel)  # in a thread, and these limits are a thread's
        report(Ready())

    # Running.

    def _loop_to_its_end(self) -> None:
        """Loop until told to stop, or until the machine refuses something.

        What has been captured until then shall reach the reader all the same.
        """
        try:
            self._loop()
        except OSError as error:
            self._trouble = f"The capture ended: {error.strerror}."
        except TccapError as error:
            self._trouble = str(error)

    def _loop(self) -> None:
        more = False
        while not self._stopping:
            self._wait(0 if more else self._patience_s())
            taken = self._carry()
            self._attribution.poll()
            self._send(*self._tls.expire())
            more = taken > 0 and self._ring.has_more()
            self._tell_losses()
            if not more and self._batch is None:
                time.sleep(BATCHING_S)

    def _wait(self, timeout_s: float | None) -> None:
        for fd, events in self._epoll.poll(timeout_s):
            if fd == self._output.fd and events & select.EPOLLERR:
                raise ReaderGoneError
            self._handlers[fd]()

    def _patience_s(self) -> float | None:
        """Return how long to sleep: for ever, unless there is something to do."""
        counts = LOSS_REPORT_S if self._uncounted else None
        waits = (self._attribution.patience_s or counts, self._tls.patience_s)
        return min((wait for wait in waits if wait is not None), default=None)

    def _carry(self) -> int:
        """Write one batch; return how many blocks were taken from the ring."""
        if not self._flush():
            return 0
        batch = self._ring.take()
        if batch.blocks or batch.message:
            self._batch = batch
            self._uncounted = True
            self._send(*batch.blocks)
            if batch.message:
                self._send(*self._answer(batch.message))
            self._flush()
        return len(batch.blocks) + bool(batch.message)

    def _answer(self, message: bytes) -> Iterable[Buffer]:
        if message[-1] == abi.PROCESS:
            return (self._attribution.answer(message),)
        return self._tls.answer(message)

    def _flush(self) -> bool:
        """Write what waits; tell whether the stream takes more."""
        done = self._guarded(self._output.flush)
        if done and self._batch:
            self._ring.release(self._batch)
            self._batch = None
        self._wait_for_reader(not done)
        return done

    def _send(self, *blocks: Buffer) -> None:
        self._guarded(lambda: self._output.send(blocks))

    def _guarded(self, write: Callable[[], bool]) -> bool:
        try:
            return write()
        except OSError as error:
            raise TccapError(
                f"The packets cannot be written: {error.strerror}; "
                "the file ends at this point."
            ) from None

    def _wait_for_reader(self, blocked: bool) -> None:
        """Listen to the reader while the stream is full, else to the ring."""
        if self._output.fd in self._handlers and blocked != self._blocked:
            self._blocked = blocked
            self._epoll.modify(self._output.fd, select.EPOLLOUT if blocked else 0)
            self._epoll.modify(self._ring.fd, 0 if blocked else select.EPOLLIN)

    # Events.

    def _watch(
        self, fd: int, handler: Callable[[], None], events: int = select.EPOLLIN
    ) -> None:
        self._handlers[fd] = handler
        self._epoll.register(fd, events)

    def _on_control(self) -> None:
        text = os.read(self._control_fd, CONTROL_LEN)
        self._send(*self._tls.read_keys(text))
        if not text:
            self._stop()

    def _stop(self) -> None:
        self._stopping = True
        signal.alarm(STOP_DEADLINE_S)

    def _on_clock(self, alarm: clock.SetAlarm) -> None:
        alarm.clear()
        self._kernel.set_wall_offset(clock.wall_offset_ns())
        log("info", "The clock was set.")

    def _on_links(self, links: devices.Watch) -> None:
        links.clear()
        self._attribution.refresh_addresses()
        gone = self._interfaces.discover()
        for ifindex in gone:
            self._interfaces.detach(ifindex, self._kernel, self._taps)
        if gone and not self._plan.is_any:
            self._trouble = f"The network device {self._plan.device!r} is gone."
            self._stop()
        self._interfaces.attach(self._kernel, self._taps)

    # Counts.

    def _tell_losses(self) -> None:
        """Now and then, if packets were lost since, write the counts."""
        if not self._uncounted or time.monotonic() - self._told_at < LOSS_REPORT_S:
            return
        self._told_at = time.monotonic()
        self._uncounted = False
        counts = self._interfaces.statistics(self._kernel)
        before = self._told + [Statistics(0, 0, 0, 0)] * (len(counts) - len(self._told))
        for number, (old, new) in enumerate(zip(before, counts, strict=True)):
            if new.dropped > old.dropped:
                self._send_statistics(number, new)
        lost = sum(count.dropped for count in counts)
        if lost > sum(count.dropped for count in before):
            report(Lost(lost))
        self._told = counts

    def _send_statistics(self, number: int, counts: Statistics) -> None:
        self._send(self._section.statistics(number, time.time_ns(), counts))

    # Stopping.

    def _finish(self) -> None:
        self._interfaces.silence(self._kernel)
        wait_for_programs()
        self._given_up_at = time.monotonic() + REST_S
        delivered = self._carry_rest()
        self._send(*self._tls.finish())
        counts = self._interfaces.statistics(self._kernel)
        if delivered:
            for number, count in enumerate(counts):
                self._send_statistics(number, count)
            delivered = self._flush_patiently()
        os.close(self._output.fd)
        sockets, processes = self._kernel.shortages()
        report(
            End(
                received=sum(count.received for count in counts),
                accepted=sum(count.accepted for count in counts),
                dropped=sum(count.dropped for count in counts),
                unattributed=sum(count.unowned for count in counts),
                complete=delivered,
                undelivered=0 if delivered else self._undelivered(),
                overflowed_sockets=sockets,
                overflowed_processes=processes,
            )
        )

    def _carry_rest(self) -> bool:
        """Empty the ring into the stream; tell whether the reader took it all."""
        while self._flush_patiently():
            if not self._carry():
                return self._flush_patiently()
        return False

    def _flush_patiently(self) -> bool:
        """Write all that waits, as long as the reader takes some of it."""
        reader = select.poll()
        reader.register(self._output.fd, select.POLLOUT)
        while not self._flush():
            left_s = self._given_up_at - time.monotonic()
            if left_s <= 0 or not reader.poll(1000 * min(STALL_S, left_s)):
                return False
        return True

    def _undelivered(self) -> int:
        """Return how many packets the reader did not take, or not to their end."""
        count = sum(map(blocks.is_packet, self._output.unwritten))
        if self._batch:
            self._ring.release(self._batch)
        while (batch := self._ring.take()).blocks or batch.message:
            count += len(batch.blocks) + abi.is_held_packet(batch.message)
            self._ring.release(batch)
        return count


@contextlib.contextmanager
def _termination() -> Iterator[int]:
    """Give a descriptor that becomes readable on SIGTERM."""
    read_fd, write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(write_fd)
    signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        yield read_fd
    finally:
        signal.set_wakeup_fd(-1)
        os.close(read_fd)
        os.close(write_fd)


def _nothing() -> None:
    """Handle a descriptor whose readiness alone is the message."""


def _os_name() -> str:
    system = os.uname()
    return f"{system.sysname} {system.release}"
