"""A whole capture filter as instructions: its conditions, joined by and, or and not.

A filter without words about processes is one function. With such words there are two:
the first runs before the processes are looked up, and keeps the verdict of each
condition on the packet for the second, which the verifier follows once for each of the
many states that such a search may end in.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from tccap.bpf import assembler as bpf
from tccap.bpf.assembler import ALU64, JMP, Assembler, Label
from tccap.filter import ebpf, language
from tccap.filter.cbpf import FilterError, Program
from tccap.filter.language import All, Any, Context, Filter, Not, Packet, Process
from tccap.filter.tokens import IFINDEX, PLACES

_RESULT, _VALUE, _OTHER = 0, 2, 3
_PLACES: Final = {"pid": ebpf.PIDS, "uid": ebpf.UIDS}
_COMM_LEN: Final = 16

# The program of a condition on the packet; None: it is never true.
Programs = Callable[[Packet], Program | None]


# Appends the jumps of a condition on the packet to one of two labels.
_PacketWriter = Callable[[Packet, Label, Label], None]


def function(of: Filter, ethernet: Programs, raw: Programs) -> bytes:
    """Return the instructions of a filter, to be patched in (bpf/patch.py).

    ``ethernet`` and ``raw`` give the programs for frames with and without an Ethernet
    header. FilterError for a condition that cannot be translated.
    """
    into, yes, no = _begun()
    into.load(8, ebpf.HEAD, ebpf.FRAME, ebpf.HEAD_AT)
    places = language.place_words(of)
    for programs in _kinds(into, ethernet, raw):
        _Tree(into, _inline(into, programs), places).write(of, yes, no)
    return into.code()


def keeping(
    of: Filter | None, packets: Sequence[Packet], ethernet: Programs, raw: Programs
) -> bytes:
    """Return a filter that keeps the verdicts of ``packets`` for `kept`.

    FilterError as for `function`, or if they are too many.
    """
    if len(packets) > ebpf.VERDICTS_MAX:
        raise FilterError(
            f"The capture filter has {len(packets)} conditions on the packet "
            f"between words such as pid; {ebpf.VERDICTS_MAX} are possible."
        )
    into, yes, no = _begun()
    into.load(8, ebpf.HEAD, ebpf.FRAME, ebpf.HEAD_AT)
    for programs in _kinds(into, ethernet, raw):
        write = _inline(into, programs)
        for place, packet in enumerate(packets):
            _keep(into, write, place, packet)
        if of is None:
            into.jump(yes)
        else:
            _Tree(into, _kept(into, packets)).write(of, yes, no)
    return into.code()


def kept(of: Filter, packets: Sequence[Packet]) -> bytes:
    """Return a filter that takes verdicts on ``packets`` from `keeping`."""
    into, yes, no = _begun()
    places = language.place_words(of)
    _Tree(into, _kept(into, packets), places).write(of, yes, no)
    return into.code()


def _begun() -> tuple[Assembler, Label, Label]:
    """Return an assembler with the two ends of a function, and its beginning."""
    into, yes, no, begin = Assembler(), Label(), Label(), Label()
    into.jump(begin)
    _write_ends(into, yes, no)
    into.bind(begin)
    ebpf.enter(into)
    # The kernel refuses instructions that nothing leads to, and a filter may not lead
    # to both ends. These jumps are never taken.
    into.alu(bpf.MOV, _RESULT, 0, ALU64)
    into.jump_if(bpf.JNE, _RESULT, 0, yes, JMP)
    into.jump_if(bpf.JNE, _RESULT, 0, no, JMP)
    return into, yes, no


def _kinds(into: Assembler, ethernet: Programs, raw: Programs) -> Iterator[Programs]:
    """Yield the programs for each kind of frame, where its instructions belong."""
    is_raw = Label()
    ebpf.load_input(into, _VALUE, ebpf.ETHERNET)
    into.jump_if(bpf.JEQ, _VALUE, 0, is_raw, JMP)
    yield ethernet
    into.bind(is_raw)
    yield raw


def _inline(into: Assembler, programs: Programs) -> _PacketWriter:
    def write(of: Packet, yes: Label, no: Label) -> None:
        program = programs(of)
        if program is None:
            into.jump(no)
        else:
            ebpf.write(into, program, yes, no)

    return write


def _kept(into: Assembler, packets: Sequence[Packet]) -> _PacketWriter:
    def write(of: Packet, yes: Label, no: Label) -> None:
        ebpf.load_input(into, _VALUE, ebpf.VERDICTS + packets.index(of), 1)
        into.jump_if(bpf.JNE, _VALUE, 0, yes)
        into.jump(no)

    return write


def _keep(into: Assembler, write: _PacketWriter, place: int, packet: Packet) -> None:
    is_true, behind = Label(), Label()
    ebpf.store_input(into, ebpf.VERDICTS + place, 0)
    write(packet, is_true, behind)
    if is_true.is_used:
        into.bind(is_true)
        ebpf.store_input(into, ebpf.VERDICTS + place, 1)
    into.bind(behind)


def constant(verdict: bool) -> bytes:
    """Return the instructions of a filter that all frames pass, or none."""
    into = Assembler()
    into.alu(bpf.MOV, _RESULT, int(verdict), ALU64)
    into.exit()
    return into.code()


def _write_ends(into: Assembler, yes: Label, no: Label) -> None:
    end = Label()
    into.bind(yes, permanent=True)
    into.alu(bpf.MOV, _RESULT, 1, ALU64)
    into.jump(end)
    into.bind(no, permanent=True)
    into.alu(bpf.MOV, _RESULT, 0, ALU64)
    into.bind(end)
    ebpf.leave(into)
    into.exit()


class _Tree:
    """``places`` are conditions on a process's place, in the order of their bits."""

    def __init__(
        self,
        into: Assembler,
        packet: _PacketWriter,
        places: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._into = into
        self._packet = packet
        self._places = places

    def write(self, of: Filter, yes: Label, no: Label) -> None:
        """Append jumps to one of two labels."""
        match of:
            case Packet():
                self._packet(of, yes, no)
            case Process():
                self._process(of, yes, no)
            case Context():
                self._context(of, yes, no)
            case Not(inner):
                self.write(inner, no, yes)
            case All(terms):
                self._each(terms, yes, no, goes_on_if=True)
            case Any(terms):
                self._each(terms, yes, no, goes_on_if=False)

    def _each(
        self, terms: tuple[Filter, ...], yes: Label, no: Label, *, goes_on_if: bool
    ) -> None:
        for term in terms[:-1]:
            following = Label()
            ways = (following, no) if goes_on_if else (yes, following)
            self.write(term, *ways)
            if not following.is_used:
                return  # the terms behind never matter
            self._into.bind(following)
        self.write(terms[-1], yes, no)

    def _context(self, of: Context, yes: Label, no: Label) -> None:
        if of.word == IFINDEX:
            self._equal(ebpf.IFINDEX, of.number, yes)
            self._into.jump(no)
            return
        is_inbound = (yes, no) if of.word == "inbound" else (no, yes)
        self._equal(ebpf.INBOUND, 1, is_inbound[0])
        self._into.jump(is_inbound[1])

    def _process(self, of: Process, yes: Label, no: Label) -> None:
        """Each word is true if it is true of either endpoint."""
        for endpoint in (0, 1):
            if of.word == "comm":
                self._comm(ebpf.COMMS + _COMM_LEN * endpoint, str(of.value), yes)
            elif of.word in PLACES:
                bit = self._places.index((of.word, str(of.value)))
                self._bit(ebpf.CGROUPS + 8 * endpoint, bit, yes)
            else:
                self._equal(_PLACES[of.word] + 8 * endpoint, int(of.value), yes)
        self._into.jump(no)

    def _comm(self, place: int, comm: str, yes: Label) -> None:
        other = Label()
        first, second = language.comm_words(comm)
        ebpf.load_input(self._into, _VALUE, place)
        self._into.set(_OTHER, first)
        self._into.jump_if_register(bpf.JNE, _VALUE, _OTHER, other)
        self._equal(place + 8, second, yes)
        self._into.bind(other)

    def _bit(self, place: int, bit: int, yes: Label) -> None:
        ebpf.load_input(self._into, _VALUE, place)
        self._into.alu(bpf.RSH, _VALUE, bit, ALU64)
        self._into.alu(bpf.AND, _VALUE, 1, ALU64)
        self._into.jump_if(bpf.JNE, _VALUE, 0, yes, JMP)

    def _equal(self, place: int, value: int, yes: Label) -> None:
        ebpf.load_input(self._into, _VALUE, place)
        self._into.set(_OTHER, value)
        self._into.jump_if_register(bpf.JEQ, _VALUE, _OTHER, yes)
