"""Basic blocks of classic BPF as eBPF instructions.

They run with the `struct frame` of bpf/packet/frame.h. What the C says about its
members, and the offsets here, belong together (tests/unit/filter/test_ebpf.py).

A load at a fixed offset reads `frame.head` if it is near enough for `head_len`: there
the head holds those bytes, or the whole frame. Any other load tries the head, and then
a helper. A load behind the frame's end makes the condition false.

The verifier follows every jump: first the way on, later the way to the label. Each jump
that it has still to follow counts, and it gives up at 8192. So a test jumps if it is
true, and goes on to the next test if it is not: then a chain of tests leaves one jump
for each.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

from tccap.bpf import assembler as bpf
from tccap.bpf.assembler import ALU64, JMP, JMP32, Assembler, Label
from tccap.filter import cbpf
from tccap.filter.basicblocks import (
    Block,
    Blocks,
    Branch,
    End,
    Goto,
    Return,
    exits,
    parse,
)
from tccap.filter.cbpf import Insn, Program
from tccap.filter.registers import is_closed
from tccap.filter.simplify import simplify

# Fixed loads behind it are made like those at an offset that is computed.
HEAD_MAX: Final = 96
# The shortest: a frame with an Ethernet header and a tag.
HEAD_MIN: Final = 20
# FRAME_COPIED of frame.h: no offset in the head is larger.
HEAD_REACH: Final = 256

# Registers. The first six are lost when a helper is called.
_ARGUMENT, _AT, _POINTER, _END = 1, 2, 3, 4
FRAME, A, X, HEAD = 6, 7, 8, 9
# struct frame
_SAVED, SKB, HEAD_AT, END_AT, INPUT = 0, 32, 40, 48, 56
# struct filter_input
LEN, SHIFT, ETHERNET, INBOUND, IFINDEX = 0, 8, 16, 24, 32
PIDS, UIDS, COMMS, CGROUPS, WORDS, LOADED, VERDICTS = 40, 56, 72, 104, 120, 184, 192
VERDICTS_MAX: Final = 64

_SKB_LOAD_BYTES: Final = 26  # BPF_FUNC_skb_load_bytes
_MSH_MAX: Final = 60
_SIGNED_MAX: Final = 0x7FFFFFFF
_U32_MAX: Final = 0xFFFFFFFF
# More values than these are searched by halves.
_VALUES_IN_A_ROW: Final = 4

_ALU: Final = {
    cbpf.ADD: bpf.ADD,
    cbpf.SUB: bpf.SUB,
    cbpf.MUL: bpf.MUL,
    cbpf.DIV: bpf.DIV,
    cbpf.OR: bpf.OR,
    cbpf.AND: bpf.AND,
    cbpf.LSH: bpf.LSH,
    cbpf.RSH: bpf.RSH,
    cbpf.MOD: bpf.MOD,
    cbpf.XOR: bpf.XOR,
}
# Uses of the helper that are kept back, so that the usual way is short.
_BEHIND_MAX: Final = 64
_CLEAR_A: Final = (bpf.MOV, A, 0)
_JUMPS: Final = {
    cbpf.JEQ: bpf.JEQ,
    cbpf.JGT: bpf.JGT,
    cbpf.JGE: bpf.JGE,
    cbpf.JSET: bpf.JSET,
}


def head_len(programs: Sequence[Program]) -> int:
    """Return how many bytes the head needs: what the fixed loads of programs reach."""
    ends = [
        insn.k + insn.size
        for program in programs
        for insn in program
        if insn.kind in (cbpf.LD, cbpf.LDX) and insn.mode in (cbpf.ABS, cbpf.MSH)
    ]
    return max([HEAD_MIN, *(end for end in ends if end <= HEAD_MAX)])


def write(into: Assembler, program: Program, yes: Label, no: Label) -> None:
    """Append a program that jumps to one of two labels.

    FilterError for a program that cannot be translated.
    """
    cbpf.check(program)
    _Writer(into, simplify(parse(program)), yes, no).write()


def enter(into: Assembler) -> None:
    """Append what precedes the conditions: register 1 points to the struct frame."""
    for number in range(4):
        into.store(8, _ARGUMENT, _SAVED + 8 * number, FRAME + number)
    into.alu_register(bpf.MOV, FRAME, _ARGUMENT, ALU64)


def leave(into: Assembler) -> None:
    """Append what follows the conditions."""
    for number in (3, 2, 1, 0):
        into.load(8, FRAME + number, FRAME, _SAVED + 8 * number)


def load_input(into: Assembler, register: int, offset: int, size: int = 8) -> None:
    """Append the load of a member of struct filter_input."""
    into.load(8, _ARGUMENT, FRAME, INPUT)
    into.load(size, register, _ARGUMENT, offset)


def store_input(into: Assembler, offset: int, value: int) -> None:
    """Append the store of a byte in struct filter_input."""
    into.load(8, _ARGUMENT, FRAME, INPUT)
    into.alu(bpf.MOV, _AT, value)
    into.store(1, _ARGUMENT, offset, _AT)


class _Writer:
    def __init__(self, into: Assembler, blocks: Blocks, yes: Label, no: Label) -> None:
        self._into = into
        self._blocks = blocks
        self._yes = yes
        self._no = no
        self._ways_out = (yes, no)
        self._labels = {at: self._label(block) for at, block in blocks.items()}
        self._behind: list[Callable[[], None]] = []
        self._checked = _checked(blocks)
        self._loaded = _loaded(blocks)

    def write(self) -> None:
        for word in sorted(self._scratch()):
            self._into.alu(bpf.MOV, A, 0)
            self._store_word(word, A)
        self._into.alu(bpf.MOV, A, 0)
        self._into.alu(bpf.MOV, X, 0)
        own = [at for at in self._blocks if self._labels[at] not in self._ways_out]
        if not own:
            self._into.jump(self._labels[0])
        following = dict(pairwise(own))
        for at in own:
            self._into.bind(self._labels[at])
            if self._blocks[at].body != self._loaded[at]:
                self._body(self._blocks[at].body, self._checked[at])
            far = len(self._behind) > _BEHIND_MAX
            self._end(self._blocks[at].end, None if far else following.get(at))
            if far or at not in following:
                self._write_behind()

    def _write_behind(self) -> None:
        """Append what is seldom needed, behind an instruction that does not go on."""
        for write in self._behind:
            write()
        self._behind.clear()

    def _label(self, block: Block) -> Label:
        if block.body or not isinstance(block.end, Return) or block.end.value is None:
            return Label()
        return self._ways_out[not block.end.value]

    def _scratch(self) -> set[int]:
        insns = [insn for block in self._blocks.values() for insn in block.body]
        return {insn.k for insn in insns if cbpf.is_scratch(insn)}

    # --- exits --------------------------------------------------------------------

    def _end(self, end: End, after: int | None) -> None:
        match end:
            case Return(None):
                self._into.jump_if(bpf.JNE, A, 0, self._yes)
                self._into.jump(self._no)
            case Return(value):
                self._into.jump(self._yes if value else self._no)
            case Goto(to):
                self._go(to, after)
            case Branch():
                self._test(end)
                self._go(end.no, after)

    def _go(self, to: int, after: int | None) -> None:
        if to != after:
            self._into.jump(self._labels[to])

    def _test(self, test: Branch) -> None:
        yes, operation = self._labels[test.yes], _JUMPS[test.operation]
        if test.values:
            self._search(operation, test.values, yes)
        else:
            self._into.jump_if_register(operation, A, X, yes, JMP32)

    def _search(self, operation: int, values: tuple[int, ...], yes: Label) -> None:
        """Jump if A compares so with one of the values, which are sorted."""
        if len(values) <= _VALUES_IN_A_ROW:
            for value in values:
                self._into.jump_if(operation, A, value, yes)
            return
        half = len(values) // 2
        upper, behind = Label(), Label()
        self._into.jump_if(bpf.JGE, A, values[half], upper)
        self._search(operation, values[:half], yes)
        self._into.jump(behind)
        self._into.bind(upper)
        self._search(operation, values[half:], yes)
        self._into.bind(behind)

    # --- instructions ---------------------------------------------------------------

    def _body(self, body: Program, checked: int) -> None:
        self._check(checked, _near_end(body))
        x_max = _U32_MAX
        for insn in body:
            self._insn(insn, x_max)
            if insn.kind == cbpf.LDX:
                x_max = _MSH_MAX if insn.mode == cbpf.MSH else _U32_MAX
            elif insn.kind == cbpf.MISC and not insn.code & cbpf.TXA:
                x_max = _U32_MAX

    def _check(self, checked: int, end: int) -> None:
        """Go to `no` if the frame ends before ``end``."""
        if end > checked:
            self._into.alu_register(bpf.MOV, _POINTER, HEAD, ALU64)
            self._into.alu(bpf.ADD, _POINTER, end, ALU64)
            self._into.load(8, _END, FRAME, END_AT)
            self._into.jump_if_register(bpf.JGT, _POINTER, _END, self._no)

    def _insn(self, insn: Insn, x_max: int) -> None:
        match insn.kind:
            case cbpf.LD | cbpf.LDX:
                self._load(A if insn.kind == cbpf.LD else X, insn, x_max)
            case cbpf.ST:
                self._store_word(insn.k, A)
            case cbpf.STX:
                self._store_word(insn.k, X)
            case cbpf.ALU:
                self._arithmetic(insn)
            case _:
                to, by = (A, X) if insn.code & cbpf.TXA else (X, A)
                self._into.alu_register(bpf.MOV, to, by)

    def _store_word(self, word: int, register: int) -> None:
        self._into.load(8, _ARGUMENT, FRAME, INPUT)
        self._into.store(4, _ARGUMENT, WORDS + 4 * word, register)

    def _load(self, register: int, insn: Insn, x_max: int) -> None:
        match insn.mode:
            case cbpf.IMM:
                self._into.alu(bpf.MOV, register, insn.k)
            case cbpf.MEM:
                load_input(self._into, register, WORDS + 4 * insn.k, 4)
            case cbpf.LEN:
                load_input(self._into, register, LEN, 4)
            case cbpf.IND:
                self._computed_load(register, insn, x_max)
            case _:
                self._fixed_load(register, insn)
        if insn.mode == cbpf.MSH:
            self._into.alu(bpf.AND, register, 0xF)
            self._into.alu(bpf.LSH, register, 2)

    def _fixed_load(self, register: int, insn: Insn) -> None:
        if _is_near(insn):
            self._into.load(insn.size, register, HEAD, insn.k)
            self._into.to_host(register, insn.size)
            return
        self._into.alu(bpf.MOV, _AT, insn.k, ALU64)
        self._far_load(register, insn.size, insn.k)

    def _computed_load(self, register: int, insn: Insn, x_max: int) -> None:
        if insn.k > _SIGNED_MAX:  # behind the end of any frame
            self._into.jump_if(bpf.JGE, X, 0, self._no)
        self._into.alu_register(bpf.MOV, _AT, X, ALU64)
        self._into.alu(bpf.ADD, _AT, insn.k & _SIGNED_MAX, ALU64)
        self._far_load(register, insn.size, x_max + insn.k)

    def _far_load(self, register: int, size: int, at_max: int) -> None:
        """Load from the offset in _AT, which is at most ``at_max``."""
        by_helper, behind = Label(), Label()
        self._behind.append(lambda: self._helped(register, size, by_helper, behind))
        if at_max > HEAD_REACH - size:
            limit = HEAD_REACH - size
            self._into.jump_if(bpf.JGT, _AT, limit, by_helper, JMP)
        self._into.alu_register(bpf.MOV, _POINTER, HEAD, ALU64)
        self._into.alu_register(bpf.ADD, _POINTER, _AT, ALU64)
        self._into.alu_register(bpf.MOV, _END, _POINTER, ALU64)
        self._into.alu(bpf.ADD, _END, size, ALU64)
        self._into.load(8, _ARGUMENT, FRAME, END_AT)
        self._into.jump_if_register(bpf.JGT, _END, _ARGUMENT, by_helper)
        self._into.load(size, register, _POINTER, 0)
        self._into.to_host(register, size)
        self._into.bind(behind)

    def _helped(self, register: int, size: int, here: Label, behind: Label) -> None:
        self._into.bind(here)
        load_input(self._into, _POINTER, LEN)
        self._into.alu(bpf.SUB, _POINTER, size, ALU64)
        self._into.jump_if_register(bpf.JSGT, _AT, _POINTER, self._no)
        load_input(self._into, _POINTER, SHIFT)
        self._into.alu_register(bpf.ADD, _AT, _POINTER, ALU64)
        self._into.alu_register(bpf.MOV, _POINTER, _ARGUMENT, ALU64)
        self._into.alu(bpf.ADD, _POINTER, LOADED, ALU64)
        self._into.load(8, _ARGUMENT, FRAME, SKB)
        self._into.alu(bpf.MOV, _END, size)
        self._into.call(_SKB_LOAD_BYTES)
        self._into.jump_if(bpf.JNE, 0, 0, self._no, JMP)
        load_input(self._into, register, LOADED, size)
        self._into.to_host(register, size)
        self._into.jump(behind)

    def _arithmetic(self, insn: Insn) -> None:
        operation = insn.operation
        if operation == cbpf.NEG:
            self._into.alu(bpf.NEG, A, 0)
        elif operation in (cbpf.LSH, cbpf.RSH):
            self._shift(insn)
        elif insn.takes_x:
            if operation in (cbpf.DIV, cbpf.MOD):
                self._into.jump_if(bpf.JEQ, X, 0, self._no)
            self._into.alu_register(_ALU[operation], A, X)
        elif operation in (cbpf.DIV, cbpf.MOD) and insn.k == 0:
            self._into.jump_if(bpf.JGE, A, 0, self._no)  # always
        else:
            self._into.alu(_ALU[operation], A, insn.k)

    def _shift(self, insn: Insn) -> None:
        """By 32 or more, everything is shifted out."""
        if not insn.takes_x:
            known = insn.k < 32
            self._into.alu(*((_ALU[insn.operation], A, insn.k) if known else _CLEAR_A))
            return
        far, behind = Label(), Label()
        self._into.jump_if(bpf.JGT, X, 31, far)
        self._into.alu_register(_ALU[insn.operation], A, X)
        self._into.jump(behind)
        self._into.bind(far)
        self._into.alu(*_CLEAR_A)
        self._into.bind(behind)


def _is_near(insn: Insn) -> bool:
    fixed = insn.kind in (cbpf.LD, cbpf.LDX) and insn.mode in (cbpf.ABS, cbpf.MSH)
    return fixed and insn.k + insn.size <= HEAD_MAX


def _near_end(body: Program) -> int:
    """Return the end of the head that a body reads at fixed offsets."""
    return max((insn.k + insn.size for insn in body if _is_near(insn)), default=0)


def _checked(blocks: Blocks) -> dict[int, int]:
    """Return how much of the head has been checked wherever a block begins."""
    checked = {0: 0}
    for at in sorted(blocks):
        end = max(checked[at], _near_end(blocks[at].body))
        for to in exits(blocks[at]):
            checked[to] = min(end, checked.get(to, end))
    return checked


def _loaded(blocks: Blocks) -> dict[int, Program]:
    """Return the body that has run last wherever a block begins; empty: it differs.

    A body that depends on the packet alone need not run again.
    """
    loaded: dict[int, Program] = {0: ()}
    for at in sorted(blocks):
        body = blocks[at].body or loaded[at]
        after = body if is_closed(blocks[at]) or not blocks[at].body else ()
        for to in exits(blocks[at]):
            loaded[to] = after if loaded.get(to, after) == after else ()
    return loaded
