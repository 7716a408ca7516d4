"""What takes part in a capture, beside the work of carrying blocks.

A part is chosen and then started. Its *choice* is made from the Plan before anything is
compiled, and says what C the programs need. Then each process gets its half. The
*service* (`Service`) is in the engine: it does what takes rights, such as reading /proc
and setting probes. The *runner* (`Part`) is in the carrier: it answers messages of the
programs, adds its blocks to the stream, and asks its service (ipc/channel.py).

A further part is a class with the members of `Choice`, those of `Service` and `Part`,
and a line in `choose`. They are protocols, so that the folders of the parts need not
know this one.
"""

import socket
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from tccap.bpf.code import Code
from tccap.bpf.collection import Collection
from tccap.errors import TccapError
from tccap.filter.capturefilter import CaptureFilter
from tccap.host import netdev
from tccap.host.access import Caller
from tccap.ipc.channel import Message
from tccap.ipc.plan import Plan
from tccap.owners import links
from tccap.owners.choice import OwnersChoice
from tccap.owners.occupied import Insiders
from tccap.owners.search import OwnersService
from tccap.stream import linktypes
from tccap.stream.linktypes import LinkType
from tccap.tls.choice import TlsChoice

if TYPE_CHECKING:
    from tccap.stream.blocks import Section

Buffer = bytes | memoryview


class Part(Protocol):
    """A part in the carrier. All that it returns is written, in order."""

    @property
    def kinds(self) -> frozenset[int]:
        """The kinds of messages of the programs that this part alone answers."""

    @property
    def hears(self) -> frozenset[type]:
        """The messages of the engine that this part alone takes."""

    def answer(self, message: bytes) -> Iterable[Buffer]:
        """Take a message of the programs, in its place between the packets."""

    def hear(self, message: Message) -> Iterable[Buffer]:
        """Take a message of the engine."""

    def read_text(self, text: bytes) -> Iterable[Buffer]:
        """Take what the front has sent behind the Plan; lines may be incomplete."""

    @property
    def timeout_s(self) -> float | None:
        """After how many seconds `poll` has to be called; None: never."""

    def poll(self) -> Iterable[Buffer]:
        """Do what is due; called at each turn of the loop."""

    def finish(self) -> Iterable[Buffer]:
        """Return all that is still held: the last packet has been written."""

    def counts(self) -> dict[str, int]:
        """Return figures for the ``end`` event."""

    def close(self) -> None:
        """Report what there was: the stream is closed."""


class Service(Protocol):
    """A part in the engine."""

    @property
    def requests(self) -> frozenset[type]:
        """The messages of the carrier that this part alone answers."""

    def answer(self, request: Message) -> Iterable[Message]:
        """Do what the carrier asks for; return answers."""

    @property
    def news_fd(self) -> int | None:
        """A descriptor that is readable when `take` has something; None: never."""

    def take(self) -> Iterable[Message]:
        """Return what has become known since the last call, for the carrier."""

    def addresses_changed(self) -> None:
        """React when devices or addresses have come or gone."""

    def close(self) -> None:
        """Release what is in the kernel; may be slow: the stream is closed."""


class Choice(Protocol):
    """A part before it is started. It asks `features`, and changes nothing."""

    @property
    def code(self) -> Code:
        """What the part adds to the programs."""

    @property
    def sets_probes(self) -> bool:
        """Whether it sets uprobes while the capture runs (privileges.TRACING)."""

    @property
    def starts_last(self) -> bool:
        """Whether its service starts when packets flow and privileges are narrowed.

        For what is slow, or has threads. Others start before the classifiers are
        attached.
        """

    def serve(self, collection: Collection, /) -> Service | None:
        """Return the engine's half; None where there is nothing to do."""

    def carry(
        self,
        collection: Collection,
        section: "Section",
        ask: Callable[[Message], None],
        /,
    ) -> Part | None:
        """Return the carrier's half; ``ask`` sends a message to the engine.

        None where there is nothing to do. It imports what it needs until its end: the
        carrier opens no files.
        """


def choose(plan: Plan, caller: Caller) -> tuple[Choice, ...]:
    """Return all parts; TccapError where the Plan asks for what cannot be.

    Call it before there are threads. The order is that of their C.
    """
    has_several = _has_several(plan)
    netmask = None if has_several else netdev.netmask(plan.device)
    link_types = _link_types(plan, has_several=has_several)
    capture_filter = CaptureFilter(plan.filters, link_types, netmask, uid=caller.uid)
    owners = OwnersChoice(
        plan,
        caller,
        filter_needs_it=capture_filter.needs_processes,
        place_words=capture_filter.place_words,
    )
    return (
        owners,
        TlsChoice(plan, caller),
        capture_filter,
    )


def _has_several(plan: Plan) -> bool:
    """Return whether several devices are captured: all, or those of a VRF."""
    try:
        return plan.is_any or links.is_vrf(socket.if_nametoindex(plan.device))
    except OSError:
        return False  # there is no such device, which is reported later


def _link_types(plan: Plan, *, has_several: bool) -> tuple[LinkType, ...]:
    """Return the link types that the capture can meet."""
    if has_several:
        return (linktypes.ETHERNET, linktypes.RAW_IP)
    link = linktypes.of_hardware_type(netdev.hardware_type(plan.device) or -1)
    return (link or linktypes.ETHERNET,)


def set_probes(choices: Sequence[Choice]) -> bool:
    """Return whether one of the parts sets probes while the capture runs."""
    return any(choice.sets_probes for choice in choices)


class Parts:
    """The carrier's halves, as one."""

    def __init__(
        self,
        choices: Sequence[Choice],
        collection: Collection,
        section: "Section",
        ask: Callable[[Message], None],
    ) -> None:
        made = (choice.carry(collection, section, ask) for choice in choices)
        self._running = [part for part in made if part]

    def answer(self, message: bytes) -> Iterable[Buffer]:
        """Pass a message to the part that answers its kind."""
        for part in self._running:
            if message[-1] in part.kinds:
                return part.answer(message)
        raise TccapError("The kernel sent a message that is not known.")

    def hear(self, message: Message) -> list[Buffer]:
        """Pass a message of the engine to the part that takes it."""
        takers = (part for part in self._running if type(message) in part.hears)
        return [block for part in takers for block in part.hear(message)]

    def read_text(self, text: bytes) -> list[Buffer]:
        """Pass text from the front to all parts."""
        return [block for part in self._running for block in part.read_text(text)]

    @property
    def timeout_s(self) -> float | None:
        """Return after how many seconds `poll` has to be called; None: never."""
        timeouts_s = (part.timeout_s for part in self._running)
        return min((each for each in timeouts_s if each is not None), default=None)

    def poll(self) -> list[Buffer]:
        """Call `poll` of all parts."""
        return [block for part in self._running for block in part.poll()]

    def finish(self) -> list[Buffer]:
        """Return all that is still held."""
        return [block for part in self._running for block in part.finish()]

    def counts(self) -> dict[str, int]:
        """Return the figures of all parts for the ``end`` event."""
        return {
            name: count
            for part in self._running
            for name, count in part.counts().items()
        }

    def close(self) -> None:
        """Report what there was."""
        for part in self._running:
            part.close()


class Services:
    """The engine's halves, as one."""

    def __init__(self, choices: Sequence[Choice], collection: Collection) -> None:
        self._choices = choices
        self._collection = collection
        self._running: list[Service] = []

    def start(self, *, last: bool) -> None:
        """Start those that start last, or the others; see `Choice.starts_last`."""
        for choice in self._choices:
            if choice.starts_last == last:
                service = choice.serve(self._collection)
                self._running += [service] if service else []

    def answer(self, request: Message) -> list[Message]:
        """Pass a request of the carrier to the part that answers it."""
        takers = (each for each in self._running if type(request) in each.requests)
        return [message for each in takers for message in each.answer(request)]

    @property
    def insiders(self) -> Insiders | None:
        """Return what finds namespaces of chosen containers; None: no part does."""
        owners = (each for each in self._running if isinstance(each, OwnersService))
        return next((each.insiders for each in owners), None)

    @property
    def with_news(self) -> list[Service]:
        """Return those that have a descriptor to wait for."""
        return [each for each in self._running if each.news_fd is not None]

    def addresses_changed(self) -> None:
        """Notify all parts that devices or addresses have come or gone."""
        for each in self._running:
            each.addresses_changed()

    def close(self) -> None:
        """Release what is in the kernel."""
        for each in self._running:
            each.close()
