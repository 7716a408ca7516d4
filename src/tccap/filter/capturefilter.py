"""The capture filter of one capture, as instructions for the classifier (bpf/packet).

The user may type two texts (the capture-filter box, and the --filter option); a
packet has to match both. libpcap compiles each condition on the packet for each link
type that the capture can meet. The part that only concerns packets is tested first:
a packet that it rejects costs neither a copy nor a lookup of its process.
"""

from functools import partial
from typing import TYPE_CHECKING, Final

from tccap.bpf.code import Code
from tccap.bpf.patch import Patches
from tccap.filter import ebpf, function, language, libpcap
from tccap.filter.cbpf import FilterError, Program
from tccap.filter.language import All, Filter, Packet
from tccap.host import sandbox
from tccap.stream.linktypes import LinkType
from tccap.stream.programoptions import Option

if TYPE_CHECKING:
    from tccap.bpf.collection import Collection
    from tccap.stream.blocks import Section

# Keys of functions in bpf/patch.h.
PACKET_FILTER, WHOLE_FILTER = 1, 2
_PASSES_ALL: Final = function.constant(True)


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
        packets = language.packets(self._filter) if self._filter else ()
        self._packets = tuple(dict.fromkeys(packets))
        self._programs = self._compiled(links)

    @property
    def needs_processes(self) -> bool:
        """Return whether the filter has words about processes."""
        return self._filter is not None and any(language.processes(self._filter))

    @property
    def place_words(self) -> tuple[tuple[str, str], ...]:
        """Return the conditions on a process's place, in the order of their bits.

        FilterError if they are too many.
        """
        return language.place_words(self._filter) if self._filter else ()

    @property
    def code(self) -> Code:
        """What the programs call for a verdict.

        FilterError for a condition that cannot be translated.
        """
        first = self._first_function()
        second = None
        if self._filter is not None and self.needs_processes:
            second = function.kept(self._filter, self._packets)
        return Code(
            patches=Patches(
                numbers={
                    Option.PACKET_FILTER_HEAD: self._head() if first else 0,
                    Option.HAS_WHOLE_FILTER: int(second is not None),
                },
                functions={
                    PACKET_FILTER: first or _PASSES_ALL,
                    WHOLE_FILTER: second or _PASSES_ALL,
                },
            )
        )

    def serve(self, _collection: "Collection") -> None:
        """Do nothing: the filter runs in the kernel alone."""

    def carry(
        self, _collection: "Collection", _section: "Section", _ask: object
    ) -> None:
        """Do nothing, as above."""

    def _head(self) -> int:
        """Return how much of a frame's head is read."""
        return ebpf.head_len([each for each in self._programs.values() if each])

    def _first_function(self) -> bytes | None:
        """Return what is called before the processes are known; None: nothing."""
        whole = self._filter
        early = language.packet_only(whole) if whole else None
        ethernet, raw = (partial(self._program, has) for has in (True, False))
        if self.needs_processes and (self._packets or early):
            return function.keeping(early, self._packets, ethernet, raw)
        return function.function(early, ethernet, raw) if early else None

    def _program(self, has_ethernet: bool, packet: Packet) -> Program | None:  # bound
        # A capture of one device never meets the other kind.
        return self._programs.get((packet.text, has_ethernet))

    def _compiled(
        self, links: tuple[LinkType, ...]
    ) -> dict[tuple[str, bool], Program | None]:
        """Return a program for each text and each kind of device."""
        return {
            (packet.text, link.has_ethernet): program
            for packet in self._packets
            for link, program in _programs(
                packet.text, links, self._netmask, self._uid
            ).items()
        }


def _parsed(texts: tuple[str, ...]) -> Filter | None:
    parts = tuple(language.parse(text) for text in texts if text.strip())
    if len(parts) > 1:
        return All(parts)
    return parts[0] if parts else None


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
