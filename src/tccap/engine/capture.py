"""One capture, from its start to its end, as the engine sees it.

Theory of operation. When the maps are made, the engine forks the carrier
(carrierprocess.py), which takes packets from the ring and writes the stream
(carrying.py). The engine keeps what takes rights: it loads the programs, attaches
devices as they appear, and answers the carrier, which asks for what is in /proc, for
example. The kernel takes longest for one program, so that is loaded in a thread; the
classifiers ignore packets until then.

The carrier learns first when to stop, from the front. Then it asks the engine to
silence the classifiers (they look their device up, and find it no more). The engine
waits until those that run have ended; the carrier carries over the rest and exits, and
the engine detaches. So the reader has everything before the slower work of detaching
begins.
"""

import contextlib
import functools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tccap.attach.attacher import Attacher, make_attacher
from tccap.attach.tcx import TcxAttacher
from tccap.bpf.collection import Collection, TooComplexError
from tccap.engine import carrierprocess, clock, devices, outcome, parts, privileges
from tccap.engine.background import Background
from tccap.engine.carrier import Writer
from tccap.engine.carrierprocess import CarrierProcess
from tccap.engine.carrying import MAPS, Carrying, Inherited
from tccap.engine.classifier import Classifier
from tccap.engine.control import Control
from tccap.engine.events import Events
from tccap.engine.inside import Inside
from tccap.engine.interfaces import Interfaces
from tccap.engine.parts import Choice, Service, Services
from tccap.errors import TccapError
from tccap.host.cpus import wait_for_rcu_readers
from tccap.ipc.channel import (
    Channel,
    ClosedError,
    Confined,
    Describe,
    Described,
    Message,
    Silenced,
    Stop,
    Stopping,
    Trouble,
)
from tccap.ipc.plan import Plan
from tccap.ipc.status import Ready, Timing, log, report
from tccap.owners import translation
from tccap.owners.occupied import Insiders
from tccap.stream.blocks import Section
from tccap.stream.output import ReaderGoneError

# How long the start waits for devices to be attached: the rest is attached while the
# others are captured.
ATTACH_S = 0.2
ATTACH_MORE_S = 0.05  # at a time
RETRY_S = 0.01  # how soon to try again to send to a carrier that is busy


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
) -> int:
    """Capture until asked to stop; return the exit status.

    TccapError says why there is no capture; the carrier reports what ends one.
    """
    with contextlib.ExitStack() as stack, contextlib.suppress(ReaderGoneError):
        setup = _set_up(plan, control_fd, stream_fd, stack)
        setup.writer.send(setup.section.header)
        setup.interfaces.discover()
        collection = _compiled(programs, setup.events, setup.control)
        services = Services(choices, collection)
        stack.callback(services.close)
        return _started(setup, choices, collection, services, stack).run()
    return 0  # nobody reads the stream any more


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
    setup: Setup,
    choices: Sequence[Choice],
    collection: Collection,
    services: Services,
    stack: contextlib.ExitStack,
) -> "Capture":
    """Load and attach everything.

    The verifier takes its time for the largest program, and for the others, and
    attaching waits for the kernel: so these three are done side by side.
    """
    with _sized(setup.plan):
        classifier = Classifier(collection)
    classifier.set_wall_offset(clock.wall_offset_ns())
    carrier = _carrier(setup, choices, collection, classifier)
    stack.callback(carrier.end)
    loading = Background(functools.partial(_load, setup.plan, classifier))
    attacher: Attacher = stack.enter_context(make_attacher(classifier.programs))
    attaching = Background(
        functools.partial(_attach, setup.interfaces, classifier, attacher)
    )
    stack.callback(attaching.join)
    with _timed("services"):
        services.start(last=False)
    attaching.result()
    loading.result()
    classifier.begin()
    # While there are no threads: these limits are a thread's.
    privileges.narrow(_kept(setup.plan, choices))
    services.start(last=True)
    inside = _inside(setup, collection, classifier, attacher, services.insiders)
    if inside:
        stack.callback(inside.close)
    return Capture(setup, services, carrier, Attached(classifier, attacher, inside))


def _kept(plan: Plan, choices: Sequence[Choice]) -> Mapping[int, str]:
    if parts.set_probes(choices):
        return privileges.TRACING
    return privileges.ENTERING if plan.inside else privileges.KEPT


def _inside(
    setup: Setup,
    collection: Collection,
    classifier: Classifier,
    attacher: Attacher,
    insiders: Insiders | None,
) -> Inside | None:
    """Return what captures from inside of containers, if that is chosen."""
    if not setup.plan.inside or not insiders:
        return None
    if not isinstance(attacher, TcxAttacher):
        raise TccapError(
            "Capturing inside containers needs Linux 6.6 or newer, which removes "
            "programs by itself (TCX): leave out --inside."
        )
    return Inside(setup.plan, setup.section, collection, classifier, insiders)


def _attach(interfaces: Interfaces, classifier: Classifier, attacher: Attacher) -> None:
    with _timed("attach"):
        interfaces.attach(classifier, attacher, time.monotonic() + ATTACH_S)


def _load(plan: Plan, classifier: Classifier) -> None:
    with _timed("load"), _sized(plan):
        classifier.load()


@contextlib.contextmanager
def _sized(plan: Plan) -> Iterator[None]:
    """Blame the capture filter, if there is one, where a program is too large."""
    try:
        yield
    except TooComplexError:
        if not any(plan.filters):
            raise
        raise TccapError(
            "The capture filter is too large for this kernel: use fewer conditions, "
            "such as one network for many hosts, or one portrange for many ports."
        ) from None


def _carrier(
    setup: Setup,
    choices: Sequence[Choice],
    collection: Collection,
    classifier: Classifier,
) -> CarrierProcess:
    given = Inherited(
        plan=setup.plan,
        choices=choices,
        collection=collection,
        classifier=classifier,
        section=setup.section,
        control=setup.control,
        writer=setup.writer,
        interfaces=setup.section.interface_count,
    )
    carry = functools.partial(_carry, given, os.getpid())
    setup.control.leave_text()
    return CarrierProcess(carry, {*collection.fds(*MAPS), setup.writer.fd})


def _carry(given: Inherited, engine: int, channel: Channel) -> int:
    """Be the carrier; return its exit status."""

    def work() -> int:
        carrying = Carrying(given, channel)
        carrierprocess.confine(engine)
        channel.send(Confined())
        with contextlib.suppress(ClosedError):  # the engine has said why
            carrying.run()
            return 0
        return 1

    return outcome.status_of(work)


@contextlib.contextmanager
def _timed(step: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    report(Timing(step, time.monotonic() - started))


def _os_name() -> str:
    system = os.uname()
    return f"{system.sysname} {system.release}"


class Attached(NamedTuple):
    """How packets get into the ring."""

    classifier: Classifier
    attacher: Attacher
    inside: Inside | None


class Capture:
    """A capture that runs."""

    def __init__(
        self,
        setup: Setup,
        services: Services,
        carrier: CarrierProcess,
        attached: Attached,
    ) -> None:
        self._plan = setup.plan
        self._events = setup.events
        self._control = setup.control
        self._interfaces = setup.interfaces
        self._links = setup.links
        self._alarm = setup.alarm
        self._rules = setup.rules
        self._services = services
        self._carrier = carrier
        self._channel = carrier.channel
        self._classifier, self._attacher, self._inside = attached
        self._is_carried = False  # the carrier has begun
        self._undescribed = 0  # interfaces that the carrier has not taken yet
        self._has_changed = False  # devices or addresses, since they were looked at
        self._is_ready = False  # all devices that were there are attached
        self._is_ending = False  # only the carrier is listened to
        self._was_stopped = False  # the carrier knows that somebody has asked for it
        self._interfaces.send_to(self._describe)
        if self._inside:
            self._inside.send_to(self._describe)
        self._watch()

    def run(self) -> int:
        """Capture until asked to stop; return the exit status."""
        with contextlib.suppress(ClosedError):  # the carrier has ended
            while True:
                outcome.guarded(self._turn, self._fail)
        return self._carrier.wait()

    def _watch(self) -> None:
        watch = self._events.watch
        watch(self._channel.fileno(), lambda _: self._on_channel())
        watch(self._links.fileno(), lambda _: self._on_links())
        watch(self._alarm.fileno(), lambda _: self._on_clock())
        if self._rules:
            watch(self._rules.fileno(), lambda _: self._on_rules())
        if self._inside:
            watch(self._inside.fileno(), lambda _: self._on_inside())
        for service in self._services.with_news:
            assert service.news_fd is not None
            watch(service.news_fd, functools.partial(self._on_news, service))

    # Running.

    def _turn(self) -> None:
        if self._may_attach:
            self._attach_rest()
        self._events.wait(self._timeout_s())
        self._channel.flush()
        if self._control.is_stopping and not self._was_stopped:
            self._was_stopped = True
            self._channel.send(Stop())

    def _timeout_s(self) -> float | None:
        """Return how long to sleep: for ever, unless there is something to do."""
        if self._channel.is_waiting:
            return RETRY_S
        return 0 if self._may_attach and self._are_waiting else None

    @property
    def _are_waiting(self) -> bool:
        """Return whether some devices that were described are not attached."""
        inside = self._inside is not None and self._inside.are_waiting
        return inside or self._interfaces.are_waiting

    @property
    def _may_attach(self) -> bool:
        """Return whether the carrier takes the packets of the devices that wait."""
        return self._is_carried and not self._is_ending and not self._undescribed

    def _describe(self, block: bytes) -> None:
        """Have an interface described before its packets come."""
        self._undescribed += 1
        self._channel.send(Describe(block))

    def _attach_rest(self) -> None:
        """Attach some of the devices that wait, and report when there are no more."""
        deadline = time.monotonic() + ATTACH_MORE_S
        if self._has_changed or self._interfaces.are_waiting:
            self._has_changed = False
            self._interfaces.attach(self._classifier, self._attacher, deadline)
        if self._inside:
            self._inside.attach(deadline)
        if not (self._is_ready or self._are_waiting) and self._has_entered_all:
            self._is_ready = True
            report(Ready())

    @property
    def _has_entered_all(self) -> bool:
        return self._inside is None or self._inside.is_complete

    def _fail(self, reason: str) -> None:
        """Have the carrier end."""
        if not self._is_ending:
            self._channel.send(Trouble(reason.encode(errors="replace")))
            self._end()

    def _end(self) -> None:
        """Listen to the carrier alone."""
        if not self._is_ending:
            self._is_ending = True
            self._events.forget(self._links.fileno())
            self._events.forget(self._alarm.fileno())
            if self._rules:
                self._events.forget(self._rules.fileno())
            if self._inside:
                self._events.forget(self._inside.fileno())

    # Events.

    def _on_channel(self) -> None:
        for message in self._channel.take():
            self._hear(message)

    def _hear(self, message: Message) -> None:
        match message:
            case Confined():
                self._is_carried = True
            case Described():
                self._undescribed -= 1
            case Stopping():
                self._control.stop()
                self._was_stopped = True
                self._end()
                self._silence()
            case _:
                for answer in self._services.answer(message):
                    self._channel.send(answer)

    def _on_news(self, service: Service, _events: int) -> None:
        for message in service.take():
            self._channel.send(message)

    def _on_clock(self) -> None:
        self._alarm.clear()
        self._classifier.set_wall_offset(clock.wall_offset_ns())
        log("info", "The clock was set.")

    def _on_links(self) -> None:
        self._links.clear()
        self._has_changed = True
        self._services.addresses_changed()
        gone = self._interfaces.discover()
        for ifindex in gone:
            self._interfaces.detach(ifindex, self._classifier, self._attacher)
        if self._inside:
            self._inside.devices_changed()
        if self._interfaces.are_over(gone):
            self._fail(f"The network device {self._plan.device!r} is gone.")

    def _on_rules(self) -> None:
        assert self._rules
        self._interfaces.rules_changed(self._rules.sources(), self._classifier)

    def _on_inside(self) -> None:
        assert self._inside
        self._inside.look()

    def _silence(self) -> None:
        """Let no more packets into the ring."""
        try:
            self._interfaces.silence(self._classifier)
            if self._inside:
                self._inside.silence()
            wait_for_rcu_readers()
        finally:
            self._channel.send(Silenced())
