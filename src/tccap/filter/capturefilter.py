"""The capture filter of one capture, as C for the classifier (bpf/packet).

The user may type two texts (the capture-filter box, and the --filter option); a
packet has to match both. libpcap compiles each condition on the packet for each link
type that the capture can meet. The part that only concerns packets is tested first:
a packet that it rejects costs neither a copy nor a lookup of its process.
"""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from tccap.bpf.code import Code
from tccap.filter import emit, language, libpcap
from tccap.filter.cbpf import FilterError, Program
from tccap.filter.language import All, Context, Filter, Packet, Process
from tccap.host import sandbox
from tccap.stream.linktypes import LinkType

if TYPE_CHECKING:
    from tccap.bpf.collection import Collection
    from tccap.stream.blocks import Section

# The frame's copy on the stack begins two bytes behind an address divisible by
# eight where there is an Ethernet header, so that what follows it is aligned.
_ETHERNET_PAD = 2


class _Leaf(NamedTuple):
    """A condition on the packet, for one link type; no program: never true."""

    name: str
    program: Program | None
    pad: int


class CaptureFilter:
    """A filter, for devices with the given link types.

    ``netmask`` is that of the one device, for `ip broadcast`. FilterError carries
    libpcap's own message, or says what else is wrong. libpcap compiles in a child
    process, so make the filter before there are threads. It does so with the rights of
    the user ``uid``, or if that is root, with nobody's.
    """

    sets_probes = False
    starts_last = False

    def __init__(
        self,
        texts: tuple[str, ...],
        links: tuple[LinkType, ...],
        netmask: int | None = None,
        uid: int = 0,
    ) -> None:
        self._uid = uid
        self._filter = _parsed(texts)
        self._netmask = netmask
        self._leaves = dict(self._compiled(links))
        programs = [leaf.program for leaf in self._leaves.values() if leaf.program]
        self._head = emit.head_len(programs)

    @property
    def needs_processes(self) -> bool:
        """Return whether the filter has words about processes."""
        return self._filter is not None and bool(_process_words(self._filter))

    @property
    def code(self) -> Code:
        """What the programs call for a verdict."""
        filter_text = self._verdict_text()
        # Without words about processes this is the same for every filter, so that
        # bpf/packet/capture.c is compiled once.
        by_words = f"#define FILTERS_BY_WORDS {int(self.needs_processes)}\n"
        text = by_words + (filter_text if self.needs_processes else "")
        return Code(text=text, filter_text=filter_text)

    def serve(self, _collection: "Collection") -> None:
        """Do nothing: the filter runs in the kernel alone."""

    def carry(
        self, _collection: "Collection", _section: "Section", _ask: object
    ) -> None:
        """Do nothing, as above."""

    def _verdict_text(self) -> str:
        return "\n".join(
            [
                f"#define FRAME_HEAD {self._head}",
                '#include "packet/frame.h"',
                *(self._function(leaf) for leaf in self._leaves.values()),
                *self._verdicts(),
                "",
            ]
        )

    def _compiled(
        self, links: tuple[LinkType, ...]
    ) -> Iterator[tuple[tuple[str, bool], _Leaf]]:
        """Yield a leaf for each text and each kind of device."""
        packets = language.packets(self._filter) if self._filter else ()
        for number, packet in enumerate(dict.fromkeys(packets)):
            programs = _programs(packet.text, links, self._netmask, self._uid)
            for link in links:
                ethernet = link.has_ethernet
                name = f"{'ethernet' if ethernet else 'raw'}_{number}"
                pad = _ETHERNET_PAD if ethernet else 0
                yield (packet.text, ethernet), _Leaf(name, programs[link], pad)

    def _function(self, leaf: _Leaf) -> str:
        if leaf.program is None:
            return (
                f"static __always_inline bool {leaf.name}(const struct frame *f)\n"
                "{\n\treturn false;\n}\n"
            )
        return emit.function(leaf.name, leaf.program, head=self._head, pad=leaf.pad)

    def _verdicts(self) -> Iterator[str]:
        """Yield the expressions: for packets alone, then for processes, too."""
        whole = self._filter
        early = language.packet_only(whole) if whole else None
        late = whole if self.needs_processes else None
        for name, part in (("PACKETS", early), ("ALL", late)):
            for kind, ethernet in (("ETHERNET", True), ("RAW", False)):
                yield f"#define {kind}_{name}_PASS {self._expression(part, ethernet)}"

    def _expression(self, part: Filter | None, ethernet: bool) -> str:
        if part is None:
            return "true"
        return language.to_c(part, partial(self._call, ethernet), _process_call)

    def _call(self, ethernet: bool, packet: Packet) -> str:
        leaf = self._leaves.get((packet.text, ethernet))
        # A capture of one device never meets the other kind.
        return f"{leaf.name}(&frame)" if leaf else "false"


def _parsed(texts: tuple[str, ...]) -> Filter | None:
    parts = tuple(language.parse(text) for text in texts if text.strip())
    if len(parts) > 1:
        return All(parts)
    return parts[0] if parts else None


def _process_words(of: Filter) -> list[Process]:
    match of:
        case Process():
            return [of]
        case Packet() | Context():
            return []
        case language.Not(inner):
            return _process_words(inner)
        case All(terms) | language.Any(terms):
            return [word for term in terms for word in _process_words(term)]


def _programs(
    text: str, links: tuple[LinkType, ...], netmask: int | None, uid: int
) -> dict[LinkType, Program | None]:
    """Compile for each link type; at least one must accept the text.

    ``arp``, for example, is an error on a device without Ethernet, where it can never
    be true.
    """
    programs: dict[LinkType, Program | None] = {}
    errors = []
    user = sandbox.user(uid) if uid else None
    for link in links:
        try:
            programs[link] = libpcap.compile_filter(
                text, link.linktype, netmask, user=user
            )
        except FilterError as error:
            programs[link] = None
            errors.append(error)
    if len(errors) == len(links):
        raise errors[0]
    return programs


def _process_call(term: Process) -> str:
    if term.word == "comm":
        first, second = language.comm_words(str(term.value))
        return f"has_comm(sender, receiver, {first:#x}ULL, {second:#x}ULL)"
    return f"has_{term.word}(sender, receiver, {term.value}U)"
