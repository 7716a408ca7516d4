"""What takes part in a capture, beside the engine's own work of carrying blocks.

A part is chosen and then started. Its *choice* is made from the Plan before anything is
compiled, and says what C the programs need. `Choice.start` makes its *runner* (`Part`)
with the programs' maps in the kernel; the runner answers messages of the programs, and
adds its blocks to the stream.

A further part is a class with the members of `Choice`, one with those of `Part`, and
a line in `choose`. They are protocols, so that the folders of the parts need not know
this one.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from tccap.bpf.code import Code
from tccap.bpf.collection import Collection
from tccap.errors import TccapError
from tccap.filter.capturefilter import CaptureFilter
from tccap.host import netdev
from tccap.host.access import Caller
from tccap.ipc.plan import Plan
from tccap.owners.choice import OwnersChoice
from tccap.stream import linktypes
from tccap.stream.linktypes import LinkType
from tccap.tls.choice import TlsChoice

if TYPE_CHECKING:
    from tccap.stream.blocks import Section

Buffer = bytes | memoryview


class Part(Protocol):
    """A part while the capture runs. All that it returns is written, in order."""

    @property
    def kinds(self) -> frozenset[int]:
        """The kinds of messages that this part alone answers."""

    def answer(self, message: bytes) -> Iterable[Buffer]:
        """Take a message of the programs, in its place between the packets."""

    def read_text(self, text: bytes) -> Iterable[Buffer]:
        """Take what the front has sent behind the Plan; lines may be incomplete."""

    def addresses_changed(self) -> None:
        """React when devices or addresses have come or gone."""

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
        """Whether it starts when packets flow and the privileges are narrowed.

        For what is slow, or has threads. Other parts start before the classifiers are
        attached.
        """

    def start(self, collection: Collection, section: "Section", /) -> Part | None:
        """Return the runner; None where there is nothing to do."""


def choose(plan: Plan, caller: Caller) -> tuple[Choice, ...]:
    """Return all parts; TccapError where the Plan asks for what cannot be.

    Call it before there are threads. The order is that of their C.
    """
    netmask = None if plan.is_any else netdev.netmask(plan.device)
    links = _link_types(plan)
    capture_filter = CaptureFilter(plan.filters, links, netmask, uid=caller.uid)
    needs_owners = capture_filter.needs_processes
    return (
        OwnersChoice(plan, caller, filter_needs_it=needs_owners),
        TlsChoice(plan, caller),
        capture_filter,
    )


def _link_types(plan: Plan) -> tuple[LinkType, ...]:
    """Return the link types that the capture can meet."""
    if plan.is_any:
        return (linktypes.ETHERNET, linktypes.RAW_IP)
    link = linktypes.of_hardware_type(netdev.hardware_type(plan.device) or -1)
    return (link or linktypes.ETHERNET,)


class Parts:
    """The parts of one capture, as one."""

    def __init__(
        self, choices: Sequence[Choice], collection: Collection, section: "Section"
    ) -> None:
        self._choices = choices
        self._collection = collection
        self._section = section
        self._running: list[Part] = []

    @property
    def set_probes(self) -> bool:
        """Return whether one of them sets probes while the capture runs."""
        return any(choice.sets_probes for choice in self._choices)

    def start(self, *, last: bool) -> None:
        """Start those that start last, or the others; see `Choice.starts_last`."""
        for choice in self._choices:
            if choice.starts_last == last:
                part = choice.start(self._collection, self._section)
                self._running += [part] if part else []

    def answer(self, message: bytes) -> Iterable[Buffer]:
        """Pass a message to the part that answers its kind."""
        for part in self._running:
            if message[-1] in part.kinds:
                return part.answer(message)
        raise TccapError("The kernel sent a message that is not known.")

    def read_text(self, text: bytes) -> list[Buffer]:
        """Pass text from the front to all parts."""
        return [block for part in self._running for block in part.read_text(text)]

    def addresses_changed(self) -> None:
        """Notify all parts that devices or addresses have come or gone."""
        for part in self._running:
            part.addresses_changed()

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
        """Release what is in the kernel."""
        for part in self._running:
            part.close()
