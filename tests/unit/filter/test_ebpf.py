"""Filters as instructions, run by an interpreter; the kernel tests run them there."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import expressions
from frames import ethernet_frames
from support.ebpf import Machine
from support.libpcap_oracle import ETHERNET, offline_filter
from tccap.bpf.objects import INSTRUCTION
from tccap.filter import cbpf, ebpf, function, libpcap
from tccap.filter.cbpf import FilterError, Insn, Program
from tccap.filter.language import Packet
from tccap.paths import BPF_DIR

ACCEPT, REJECT = Insn(cbpf.RET, 0, 0, 1), Insn(cbpf.RET, 0, 0, 0)
ETHERNET_FRAME = {ebpf.ETHERNET: 1}


def code_of(program: Program) -> bytes:
    return function.function(Packet(""), lambda _: program, lambda _: program)


@pytest.mark.parametrize("linear_len", [None, 20, 60])
def test_the_verdicts_are_libpcaps(linear_len: int | None) -> None:
    """The head holds all that fixed loads need, or the whole frame."""
    for text in [t for t in expressions.ALL[::7] if "protochain" not in t]:
        try:
            program = libpcap.compile_filter(text, ETHERNET)
        except FilterError:
            continue
        matches, code = offline_filter(program), code_of(program)
        need = ebpf.head_len([program])
        for frame in ethernet_frames(60):
            shown = None if linear_len is None else max(linear_len, need)
            machine = Machine(frame, shown, inputs=ETHERNET_FRAME)
            assert machine.run(code) == matches(frame), (text, frame.hex())


RESULTS: dict[int, Callable[[int, int], int]] = {
    cbpf.ADD: int.__add__,
    cbpf.SUB: int.__sub__,
    cbpf.MUL: int.__mul__,
    cbpf.OR: int.__or__,
    cbpf.AND: int.__and__,
    cbpf.XOR: int.__xor__,
    cbpf.DIV: lambda a, b: a // (b or 1),
    cbpf.MOD: lambda a, b: a % (b or 1),
    cbpf.LSH: lambda a, b: a << b if b < 32 else 0,
    cbpf.RSH: lambda a, b: a >> b,
}


@pytest.mark.parametrize("operation", RESULTS)
@pytest.mark.parametrize("value", [0, 1, 3, 31, 32, 33, 0x7FFFFFFF, 0xFFFFFFFF])
@pytest.mark.parametrize("source", [cbpf.K, cbpf.X])
@pytest.mark.parametrize("a", [0, 7, 0x80000001])
def test_arithmetic(operation: int, value: int, source: int, a: int) -> None:
    program = (
        Insn(cbpf.LDX | cbpf.IMM, 0, 0, value),
        Insn(cbpf.LD | cbpf.IMM, 0, 0, a),
        Insn(cbpf.ALU | operation | source, 0, 0, value),
        Insn(cbpf.JMP | cbpf.JEQ, 0, 1, RESULTS[operation](a, value) & 0xFFFFFFFF),
        *(ACCEPT, REJECT),
    )
    divides_by_zero = operation in (cbpf.DIV, cbpf.MOD) and value == 0
    assert Machine().run(code_of(program)) == (not divides_by_zero)


def test_a_load_behind_any_frame_is_false() -> None:
    far = Insn(cbpf.LD | cbpf.WORD | cbpf.IND, 0, 0, 0xFFFFFFFF)
    assert Machine(bytes(60)).run(code_of((far, ACCEPT))) == 0
    assert Machine(bytes(60)).run(code_of((far._replace(k=56), ACCEPT))) == 1
    assert Machine(bytes(60)).run(code_of((far._replace(k=57), ACCEPT))) == 0


def test_the_helper_reads_where_the_head_ends() -> None:
    frame = bytes(299) + b"\x07"
    load = Insn(cbpf.LD | cbpf.BYTE | cbpf.ABS, 0, 0, 299)
    program = (load, Insn(cbpf.JMP | cbpf.JEQ, 0, 1, 7), ACCEPT, REJECT)
    assert Machine(frame, 100).run(code_of(program)) == 1
    assert Machine(frame[:-1], 100).run(code_of(program)) == 0
    # A tag that the data lacks moves what follows it.
    tagged = Machine(frame + b"\0\0\0\0", 100, inputs={ebpf.SHIFT: (1 << 64) - 4})
    assert tagged.run(code_of((load._replace(k=303), *program[1:]))) == 1


@pytest.mark.parametrize("word", ["host 10.{0}.{1}.9", "port 1{0}{1}"])
def test_many_values_are_searched(word: str) -> None:
    text = " or ".join(word.format(n // 50 + 1, n % 50) for n in range(500))
    code = code_of(libpcap.compile_filter(text, ETHERNET))
    udp = bytes.fromhex(
        "020000000002 020000000001 0800 4500001c0000000040110000 c0a80001 c0a80002"
        "fde8fde9 00080000"
    )
    machine = Machine(udp, inputs=ETHERNET_FRAME)
    assert machine.run(code) == 0
    assert machine.steps < 150


def test_a_long_filter_keeps_its_jumps_short() -> None:
    """The ends of the function are farther away than a jump reaches."""
    text = " or ".join(f"portrange {2 * n}-{2 * n + 1}" for n in range(20, 1450))
    program = libpcap.compile_filter(text, ETHERNET)
    code = code_of(program)
    assert len(code) > 100_000 * INSTRUCTION.size
    matches = offline_filter(program)
    for frame in ethernet_frames(60):
        assert Machine(frame, inputs=ETHERNET_FRAME).run(code) == matches(frame)


def test_all_instructions_are_reached() -> None:
    """The kernel refuses others."""
    for text in ("", "ip", "tcp port 443", expressions.many_hosts(500)):
        insns = list(INSTRUCTION.iter_unpack(code_of(libpcap.compile_filter(text, 1))))
        reached, to_do = set(), [0]
        while to_do:
            at = to_do.pop()
            if at in reached:
                continue
            reached.add(at)
            code, _, offset, _ = insns[at]
            ends = code in (0x95, 0x05)
            jumps = code & 7 in (5, 6) and code not in (0x85, 0x95)
            to_do += [] if ends else [at + 1]
            to_do += [at + 1 + offset] if jumps else []
        assert reached == set(range(len(insns)))


def test_the_head_covers_the_fixed_loads_within_reason() -> None:
    near = Insn(cbpf.LD | cbpf.HALF | cbpf.ABS, 0, 0, 56)
    far = Insn(cbpf.LD | cbpf.HALF | cbpf.ABS, 0, 0, 1000)
    assert ebpf.head_len([(near, ACCEPT), (far, ACCEPT)]) == 58
    assert ebpf.head_len([(ACCEPT,)]) == ebpf.HEAD_MIN


def test_a_program_that_cannot_be_translated_is_refused() -> None:
    with pytest.raises(FilterError):
        code_of((Insn(0xFF, 0, 0, 0), ACCEPT))


def test_the_offsets_are_those_of_the_c() -> None:
    """All members have 64 bits, but for the scratch words and the copy."""
    text = Path(BPF_DIR, "packet/frame.h").read_text("ascii")
    places = {**_places(text, "filter_input"), **_places(text, "frame")}
    names = (
        "len shift is_ethernet is_inbound ifindex pids uids comms cgroups words "
        "loaded verdicts"
    )
    offsets = [ebpf.LEN, ebpf.SHIFT, ebpf.ETHERNET, ebpf.INBOUND, ebpf.IFINDEX]
    offsets += [ebpf.PIDS, ebpf.UIDS, ebpf.COMMS, ebpf.CGROUPS, ebpf.WORDS]
    offsets += [ebpf.LOADED, ebpf.VERDICTS]
    assert [places[name] for name in names.split()] == offsets
    pointers = (places[name] for name in ("skb", "head", "end", "input"))
    assert tuple(pointers) == (ebpf.SKB, ebpf.HEAD_AT, ebpf.END_AT, ebpf.INPUT)
    assert f"verdicts[{ebpf.VERDICTS_MAX}];" in text
    assert f"#define FRAME_ROOM {ebpf.HEAD_REACH}\n" in text


def _places(text: str, structure: str) -> dict[str, int]:
    body = text.split(f"struct {structure} {{")[1].split("};", maxsplit=1)[0]
    places, at = {}, 0
    for kind, pointer, name, lengths in re.findall(
        r"^\t(?:const |struct )*(\w+) (\*?)(\w+)((?:\[\w+\])*);", body, re.MULTILINE
    ):
        places[name] = at
        size = 8 if pointer else {"u64": 8, "u32": 4, "u8": 1}[kind]
        for length in re.findall(r"\[(\d+)\]", lengths):
            size *= int(length)
        at += size
    return places
