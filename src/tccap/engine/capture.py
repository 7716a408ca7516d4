"""One capture, from its start to its last block.

Theory of operation. The loop sleeps in epoll until the ring has data, then takes
batches of finished blocks and writes them (carrier.py), pausing a millisecond between
batches that did not fill up, so that many packets share one wake-up. The parts
(parts.py) answer the messages among the blocks.

Stopping is: silence the classifiers (they look their device up, and find it no more),
wait until those that run have ended, carry over the rest of the ring, write the
statistics, close the stream, detach. So the reader has everything before the slower
work of detaching begins.
"""

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tccap.attach import clsact
from tccap.attach.attacher import Attacher, make_attacher
from tccap.bpf.collection import Collection, TooComplexError
from tccap.engine import clock, devices, privileges
from tccap.engine.background import Background
from tccap.engine.carrier import Carrier, Writer
from tccap.engine.classifier import Classifier
from tccap.engine.control import Control
from tccap.engine.events import Events
from tccap.engine.interfaces import Interfaces
from tccap.engine.losses import Losses
from tccap.engine.parts import Choice, Parts
from tccap.errors import TccapError
from tccap.host.cpus import wait_for_rcu_readers
from tccap.ipc.plan import Plan
from tccap.ipc.status import End, Ready, Timing, log, report
from tccap.owners import translation
from tccap.stream import abi
from tccap.stream.abi import Statistics
from tccap.stream.blocks import Section
from tccap.stream.output import ReaderGoneError
from tccap.stream.ring import Ring

# Waking up for a few packets costs more than the packets themselves.
BATCHING_S = 0.001
# How long the start waits for devices to be attached: the rest is attached while the
# others are captured.
ATTACH_S = 0.2
ATTACH_MORE_S = 0.05  # at a time
# On stop: how long the reader may take for the rest before it is given up.
REST_S = 8.0


@dataclass(frozen=True)
class Setup:
    """What a capture has before its programs are compiled."""

    plan: Plan
    section: Section
    events: Events
    control: Control
    writer: Writer
    interfaces: Interfaces
    links: devices.Watch
    alarm: clock.SetAlarm
    rules: translation.Watch | None


def run(
    plan: Plan,
    choices: Sequence[Choice],
    programs: Background[Collection],
    control_fd: int,
    stream_fd: int,
) -> None:
    """Capture until asked to stop; TccapError says why it could not go on."""
    with contextlib.ExitStack() as stack, contextlib.suppress(ReaderGoneError):
        setup = _set_up(plan, control_fd, stream_fd, stack)
        setup.writer.send(setup.section.header)
        setup.interfaces.discover()
        collection = _compiled(programs, setup.events, setup.control)
        parts = Parts(choices, collection, setup.section)
        stack.callback(parts.close)
        _started(setup, collection, parts, stack).run()


def _set_up(
    plan: Plan, control_fd: int, stream_fd: int, stack: contextlib.ExitStack
) -> Setup:
    events, writer = Events(), Writer(stream_fd)
    section = Section(_os_name(), os.uname().machine)
    return Setup(
        plan=plan,
        section=section,
        events=events,
        control=stack.enter_context(Control(control_fd, events)),
        writer=writer,
        interfaces=Interfaces(plan, section, writer.send),
        links=stack.enter_context(devices.Watch()),
        alarm=stack.enter_context(clock.SetAlarm()),
        rules=_rules(stack),
    )


def _rules(stack: contextlib.ExitStack) -> translation.Watch | None:
    try:
        return stack.enter_context(translation.Watch())
    except OSError:
        return None  # no nftables


def _compiled(
    programs: Background[Collection], events: Events, control: Control
) -> Collection:
    """Wait for the compiler; when asked to stop, end at once."""
    is_done = False

    def note(_: int) -> None:
        nonlocal is_done
        is_done = True

    events.watch(programs.done_fd, note)
    while not is_done:
        events.wait(None)
        if control.is_stopping:
            # Nothing is in the kernel yet, and the compiler ends with us.
            os._exit(0)
    events.forget(programs.done_fd)
    return programs.result()


def _started(
    setup: Setup, collection: Collection, parts: Parts, stack: contextlib.ExitStack
) -> "Capture":
    """Load and attach everything."""
    with _timed("load"):
        classifier = _classifier(setup.plan, collection)
        classifier.set_wall_offset(clock.wall_offset_ns())
        ring = _ring(collection, setup.plan)
        parts.start(last=False)
    with _timed("attach"):
        clsact.sweep()
        attacher: Attacher = stack.enter_context(make_attacher(classifier.programs))
        setup.interfaces.attach(classifier, attacher, time.monotonic() + ATTACH_S)
    carrier = Carrier(setup.events, ring, setup.writer, parts.answer)
    # Before there are threads: these limits are a thread's.
    privileges.narrow(privileges.TRACING if parts.set_probes else privileges.KEPT)
    parts.start(last=True)
    return Capture(setup, parts, carrier, classifier, attacher)


def _classifier(plan: Plan, collection: Collection) -> Classifier:
    try:
        return Classifier(collection)
    except TooComplexError:
        if not any(plan.filters):
            raise
        raise TccapError(
            "The capture filter is too large for this kernel: use fewer conditions, "
            "such as one network for many hosts, or one portrange for many ports."
        ) from None


def _ring(collection: Collection, plan: Plan) -> Ring:
    length = abi.ring_pages(plan.ring_mib) * abi.PAGE_LEN
    return Ring(collection.table("ring").fd, length)


@contextlib.contextmanager
def _timed(step: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    report(Timing(step, time.monotonic() - started))


def _os_name() -> str:
    system = os.uname()
    return f"{system.sysname} {system.release}"


class Capture:
    """A capture that runs."""

    def __init__(
        self,
        setup: Setup,
        parts: Parts,
        carrier: Carrier,
        classifier: Classifier,
        attacher: Attacher,
    ) -> None:
        self._plan = setup.plan
        self._section = setup.section
        self._events = setup.events
        self._control = setup.control
        self._writer = setup.writer
        self._interfaces = setup.interfaces
        self._links = setup.links
        self._alarm = setup.alarm
        self._rules = setup.rules
        self._parts = parts
        self._carrier = carrier
        self._classifier = classifier
        self._attacher = attacher
        self._losses = Losses(setup.section)
        self._is_ready = False  # all devices that were there are attached
        self._trouble = ""  # why it stopped by itself
        self._events.watch(self._links.fileno(), lambda _: self._on_links())
        self._events.watch(self._alarm.fileno(), lambda _: self._on_clock())
        if self._rules:
            self._events.watch(self._rules.fileno(), lambda _: self._on_rules())

    def run(self) -> None:
        """Capture until asked to stop; TccapError says why it stopped by itself."""
        with contextlib.suppress(ReaderGoneError):
            self._loop_to_its_end()
            self._finish()
        if self._trouble:
            raise TccapError(self._trouble)

    # Running.

    def _loop_to_its_end(self) -> None:
        """Loop until asked to stop, or until the machine refuses something.

        In both cases the reader still gets all packets that were captured.
        """
        try:
            self._loop()
        except OSError as error:
            self._trouble = f"The capture ended: {error.strerror}."
        except TccapError as error:
            self._trouble = str(error)

    def _loop(self) -> None:
        more = False
        while not self._control.is_stopping:
            self._attach_rest()
            self._events.wait(0 if more else self._timeout_s())
            if text := self._control.take_text():
                self._writer.send(*self._parts.read_text(text))
            taken = self._carrier.carry()
            if taken:
                self._losses.packets_came()
            losses = self._losses.blocks(self._statistics)
            self._writer.send(*self._parts.poll(), *losses)
            more = taken > 0 and self._carrier.has_more
            if not more and not self._carrier.is_waiting:
                time.sleep(BATCHING_S)

    def _timeout_s(self) -> float | None:
        """Return how long to sleep: for ever, unless there is something to do."""
        if self._interfaces.are_waiting:
            return 0
        waits_s = (self._parts.timeout_s, self._losses.timeout_s)
        return min((wait for wait in waits_s if wait is not None), default=None)

    def _statistics(self) -> list[Statistics]:
        return self._interfaces.statistics(self._classifier)

    # Events.

    def _on_clock(self) -> None:
        self._alarm.clear()
        self._classifier.set_wall_offset(clock.wall_offset_ns())
        log("info", "The clock was set.")

    def _on_links(self) -> None:
        self._links.clear()
        self._parts.addresses_changed()
        gone = self._interfaces.discover()
        for ifindex in gone:
            self._interfaces.detach(ifindex, self._classifier, self._attacher)
        if gone and not self._plan.is_any:
            self._trouble = f"The network device {self._plan.device!r} is gone."
            self._control.stop()

    def _attach_rest(self) -> None:
        """Attach some of the devices that wait, and report when there are no more."""
        deadline = time.monotonic() + ATTACH_MORE_S
        self._interfaces.attach(self._classifier, self._attacher, deadline)
        if not (self._is_ready or self._interfaces.are_waiting):
            self._is_ready = True
            report(Ready())

    def _on_rules(self) -> None:
        assert self._rules
        self._interfaces.rules_changed(self._rules.sources(), self._classifier)

    # Stopping.

    def _finish(self) -> None:
        self._interfaces.silence(self._classifier)
        wait_for_rcu_readers()
        deadline = time.monotonic() + REST_S
        delivered = self._carrier.carry_rest(deadline)
        self._writer.send(*self._parts.finish())
        counts = self._statistics()
        if delivered:
            self._send_statistics(counts)
            delivered = self._carrier.flush_until(deadline)
        self._writer.close()
        report(
            End(
                received=sum(count.received for count in counts),
                accepted=sum(count.accepted for count in counts),
                dropped=sum(count.dropped for count in counts),
                unattributed=sum(count.unattributed for count in counts),
                complete=delivered,
                undelivered=0 if delivered else self._carrier.undelivered(),
                **self._parts.counts(),
            )
        )

    def _send_statistics(self, counts: list[Statistics]) -> None:
        for number, count in enumerate(counts):
            now_ns = time.time_ns()
            self._writer.send(self._section.statistics(number, now_ns, count))
