"""The carrier's loop: from the ring to the last block of the stream.

Theory of operation. The loop sleeps in epoll until the ring has something, then takes
batches of finished blocks and writes them (carrier.py). Behind a batch that did not
fill up it waits some milliseconds, or until an eighth of the ring is filled, so that
many packets share one turn. It sleeps again when the ring is empty and has been asked
for a wake-up. The parts (parts.py) answer
the messages among the blocks.

Stopping is: have the engine silence the classifiers, carry over the rest of the ring,
write the statistics, close the stream. So the reader has everything before the slower
work of detaching begins.
"""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tccap.bpf.collection import Collection
from tccap.engine import outcome
from tccap.engine.carrier import Carrier, Writer
from tccap.engine.classifier import Classifier
from tccap.engine.control import Control
from tccap.engine.events import Events
from tccap.engine.losses import Losses
from tccap.engine.parts import Choice, Parts
from tccap.errors import TccapError
from tccap.host.cpus import possible_cpus
from tccap.ipc.channel import (
    Channel,
    Describe,
    Described,
    Message,
    Silenced,
    Stop,
    Stopping,
    Trouble,
)
from tccap.ipc.plan import Plan
from tccap.ipc.status import End, report
from tccap.stream import abi
from tccap.stream.abi import Statistics
from tccap.stream.blocks import Section
from tccap.stream.messages import Messages
from tccap.stream.output import ReaderGoneError
from tccap.stream.ring import Memory, Ring

# The maps that the carrier uses, as far as there are such.
MAPS = (
    *("ring_chunks", "ring_control", "messages", "counters"),
    *("completions", "overflows", "lookup_generations"),
    *("tls_marks", "tls_lost", "quic_marks", "quic_counts"),
)
# A turn for a few packets costs more than the packets themselves. So messages of the
# programs wait a little, too, ...
BATCHING_S = 0.001
# ... and packets behind others as long as no person sees it.
GATHERING_S = 0.02
# How soon to try again to send to an engine that is busy.
RETRY_S = 0.01
# On stop: how long the engine may take to silence the classifiers. It may wait for what
# a process keeps in /proc; without it the stream ends with all that has come.
SILENCE_S = 3.0
# On stop: how long the reader may take for the rest before it is given up.
REST_S = 8.0


@dataclass(frozen=True)
class Inherited:
    """What the carrier has from the engine."""

    plan: Plan
    choices: Sequence[Choice]
    collection: Collection
    classifier: Classifier
    section: Section
    control: Control
    writer: Writer
    interfaces: int  # how many are described already


class Carrying:
    """The loop."""

    def __init__(self, given: Inherited, channel: Channel) -> None:
        self._section = given.section
        self._classifier = given.classifier
        self._control = given.control
        self._writer = given.writer
        self._interfaces = given.interfaces
        self._channel = channel
        self._events = Events()
        given.collection.count_as_carrier()
        sources = (given.choices, given.collection, given.section)
        self._parts = Parts(*sources, channel.send)
        ring = ring_of(given.collection, given.plan)
        answer = self._parts.answer
        self._carrier = Carrier(self._events, ring, given.writer, answer)
        self._losses = Losses(given.section)
        self._has_more = False  # the ring has another batch
        self._is_gathering = False  # there were packets, and there will be others
        self._silence_due: float | None = None  # None: nobody has asked for silence
        self._is_silenced = False  # no more packets come into the ring
        self._trouble = ""  # why it stopped by itself
        self._control.take_over(self._events)
        self._events.watch(channel.fileno(), lambda _: self._on_channel())

    def run(self) -> None:
        """Carry until asked to stop; TccapError says why it stopped by itself.

        ClosedError if the engine has ended.
        """
        with contextlib.suppress(ReaderGoneError):
            while not self._is_silenced and self._silence_in_s() != 0:
                outcome.guarded(self._turn, self._fail)
            self._finish()
        self._parts.close()
        if self._trouble:
            raise TccapError(self._trouble)

    # Running.

    def _turn(self) -> None:
        if self._control.is_stopping and self._silence_due is None:
            self._silence_due = time.monotonic() + SILENCE_S
            self._channel.send(Stopping())
        self._events.wait(self._timeout_s())
        self._channel.flush()
        if self._trouble:
            return
        if text := self._control.take_text():
            self._writer.send(*self._parts.read_text(text))
        taken = self._carrier.carry()
        if taken or self._carrier.is_waiting:  # then packets may be lost
            self._losses.packets_came()
        losses = self._losses.blocks(self._statistics)
        self._writer.send(*self._parts.poll(), *losses)
        self._has_more = taken and self._carrier.has_more
        self._is_gathering = taken and not self._has_more
        if not self._has_more and not self._carrier.is_waiting:
            time.sleep(BATCHING_S)

    def _timeout_s(self) -> float | None:
        """Return how long to sleep: for ever, unless there is something to do."""
        if self._has_more:
            return 0
        if self._is_gathering:
            self._carrier.await_much()
        elif not self._carrier.may_sleep():
            return 0
        waits_s = (
            GATHERING_S if self._is_gathering else self._carrier.look_again_s,
            self._parts.timeout_s,
            self._losses.timeout_s,
            self._silence_in_s(),
            RETRY_S if self._channel.is_waiting else None,
        )
        return min((wait for wait in waits_s if wait is not None), default=None)

    def _silence_in_s(self) -> float | None:
        """Return how long to wait for silence; None: nobody has asked for it."""
        if self._silence_due is None:
            return None
        return max(0.0, self._silence_due - time.monotonic())

    def _statistics(self) -> list[Statistics]:
        numbers = range(self._interfaces)
        return [self._classifier.statistics(number) for number in numbers]

    def _fail(self, reason: str) -> None:
        self._trouble = self._trouble or reason
        self._has_more = False
        self._control.stop()

    # What the engine says.

    def _on_channel(self) -> None:
        for message in self._channel.take():
            self._hear(message)

    def _hear(self, message: Message) -> None:
        match message:
            case Describe(block):
                self._interfaces += 1
                self._section.count_interface()
                self._writer.send(block)
                self._channel.send(Described())
            case Silenced():
                self._is_silenced = True
            case Stop():
                self._control.stop()
            case Trouble(reason):
                self._fail(reason.decode(errors="replace"))
            case _:
                self._writer.send(*self._parts.hear(message))

    # Stopping.

    def _finish(self) -> None:
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


def ring_of(collection: Collection, plan: Plan) -> Ring:
    """Return the reader of the stream that a collection's programs write."""
    shape = abi.ring_shape(plan.snaplen, possible_cpus(), plan.ring_mib)
    fds = {name: collection.table(name).fd for name in MAPS[:3]}
    messages = Messages(fds["messages"], shape.messages_len)
    return Ring(Memory.map(fds, shape), shape, messages)
