"""The translation, judged by libpcap's interpreter.

The simplified blocks are written back as classic BPF, so that the oracle runs
both. What the C of a block does is shown by the kernel tests.
"""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import expressions
from frames import ethernet_frames
from tccap.filter import basicblocks, cbpf, emit, libpcap
from tccap.filter.basicblocks import Blocks, Branch, Goto, Return
from tccap.filter.cbpf import FilterError, Insn, Program

ETHERNET = libpcap.LINKTYPE_ETHERNET
FRAMES = ethernet_frames(400)
ACCEPT, REJECT = Insn(cbpf.RET, 0, 0, 1), Insn(cbpf.RET, 0, 0, 0)
JUMP = cbpf.JMP | cbpf.JA


def flatten(blocks: Blocks) -> Program:
    """Classic BPF for blocks; every jump by way of JA, which reaches far."""
    parts = {at: [*block.body, *_exit(block.end)] for at, block in blocks.items()}
    starts, at = {}, 0
    for key, part in parts.items():
        starts[key] = at
        at += len(part)
    flat = [insn for part in parts.values() for insn in part]
    return tuple(
        insn._replace(k=starts[insn.k] - at - 1) if insn.code == JUMP else insn
        for at, insn in enumerate(flat)
    )


def _exit(end: basicblocks.End) -> list[Insn]:
    match end:
        case Return(value):
            return [Insn(cbpf.RET | (cbpf.A if value is None else 0), 0, 0, value or 0)]
        case Goto(to):
            return [Insn(JUMP, 0, 0, to)]
        case Branch(operation, values, yes, no):
            source = cbpf.K if values else cbpf.X
            code = cbpf.JMP | operation | source
            tests = [
                insn
                for value in values or (0,)
                for insn in (Insn(code, 0, 1, value), Insn(JUMP, 0, 0, yes))
            ]
            return [*tests, Insn(JUMP, 0, 0, no)]


@pytest.mark.parametrize("optimised", [True, False])
@pytest.mark.parametrize(
    "text",
    [t for t in expressions.ALL[::3] if "protochain" not in t and "geneve" not in t],
)
def test_simplified_blocks_judge_as_before(
    text: str, optimised: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not optimised:
        monkeypatch.setattr(libpcap, "MAX_OPTIMISED_INSNS", 0)
    try:
        program = libpcap.compile_filter(text, ETHERNET)
    except FilterError as error:
        assert str(error) == "expression rejects all packets"  # noqa: PT017
        return
    simple = flatten(basicblocks.simplify(basicblocks.parse(program)))
    before, after = libpcap.offline_filter(program), libpcap.offline_filter(simple)
    assert [after(frame) for frame in FRAMES] == [before(frame) for frame in FRAMES]


# Random programs: forward jumps only, scratch words set before they are read.
SETTING = tuple(Insn(cbpf.ST, 0, 0, word) for word in range(cbpf.SCRATCH_WORDS))
numbers = st.sampled_from([0, 1, 2, 12, 14, 30, 0x0800, 0xFFFF_FFFF])
offsets = st.integers(0, 40)
loads = st.sampled_from(sorted(cbpf.SIZES))


def _insns(code: int, k: st.SearchStrategy[int]) -> st.SearchStrategy[Insn]:
    return st.builds(Insn, st.just(code), st.just(0), st.just(0), k)


straight = st.one_of(
    loads.flatmap(lambda size: _insns(cbpf.LD | size | cbpf.ABS, offsets)),
    loads.flatmap(lambda size: _insns(cbpf.LD | size | cbpf.ABS, offsets)),
    loads.flatmap(lambda size: _insns(cbpf.LD | size | cbpf.IND, offsets)),
    _insns(cbpf.LDX | cbpf.BYTE | cbpf.MSH, offsets),
    _insns(cbpf.LD | cbpf.IMM, numbers),
    _insns(cbpf.LDX | cbpf.IMM, offsets),
    _insns(cbpf.LD | cbpf.MEM, st.integers(0, 3)),
    _insns(cbpf.LDX | cbpf.MEM, st.integers(0, 3)),
    _insns(cbpf.ST, st.integers(0, 3)),
    _insns(cbpf.STX, st.integers(0, 3)),
    _insns(cbpf.LD | cbpf.LEN, st.just(0)),
    _insns(cbpf.MISC | cbpf.TAX, st.just(0)),
    _insns(cbpf.MISC | cbpf.TXA, st.just(0)),
    _insns(cbpf.ALU | cbpf.AND | cbpf.K, numbers),
    _insns(cbpf.ALU | cbpf.ADD | cbpf.X, st.just(0)),
    _insns(cbpf.ALU | cbpf.NEG, st.just(0)),
)
jumps = st.builds(
    Insn,
    st.sampled_from([cbpf.JEQ, cbpf.JEQ, cbpf.JEQ, cbpf.JGT, cbpf.JSET]).map(
        lambda operation: cbpf.JMP | operation
    ),
    st.integers(0, 12),
    st.integers(0, 12),
    numbers,
)
bodies = st.lists(st.one_of(straight, jumps, jumps), max_size=40)


def _closed(body: list[Insn]) -> Program:
    """The body with its jumps kept inside, and both returns behind it."""
    room = len(body) + 1
    inside = [
        insn._replace(jt=min(insn.jt, room - at - 1), jf=min(insn.jf, room - at - 1))
        if insn.kind == cbpf.JMP
        else insn
        for at, insn in enumerate(body)
    ]
    return (*SETTING, *inside, ACCEPT, REJECT)


@given(bodies, st.sampled_from(FRAMES))
def test_any_program_keeps_its_verdict(body: list[Insn], frame: bytes) -> None:
    program = _closed(body)
    cbpf.check(program)
    simple = flatten(basicblocks.simplify(basicblocks.parse(program)))
    expected = libpcap.matches_offline(program, frame)
    assert libpcap.matches_offline(simple, frame) == expected


def test_500_hosts_become_a_few_blocks() -> None:
    text = expressions.many_hosts(500)
    program = libpcap.compile_filter(text, ETHERNET, deadline_s=60)
    blocks = basicblocks.simplify(basicblocks.parse(program))
    assert len(program) > 10_000
    assert len(blocks) < 40
    simple = flatten(blocks)
    before, after = libpcap.offline_filter(program), libpcap.offline_filter(simple)
    verdicts = [before(frame) for frame in FRAMES]
    assert len(set(verdicts)) == 2
    assert [after(frame) for frame in FRAMES] == verdicts


@pytest.mark.parametrize(
    ("program", "part"),
    [
        ((), "0 instructions"),
        ((Insn(0xFF, 0, 0, 0), REJECT), "unknown (0xff)"),
        ((Insn(0x15, 0, 5, 0), REJECT), "leads outside"),
        ((Insn(0x28, 0, 0, 12),), "leads outside"),
        ((Insn(0x05, 0, 0, 0xFFFF_FFF0), REJECT), "leads outside"),
        ((Insn(0x02, 0, 0, 16), REJECT), "scratch word"),
        ((Insn(0x28, 0, 0, 0xFFFF_F000), REJECT), "beside the packet"),
    ],
)
def test_what_cannot_be_translated_is_refused(program: Program, part: str) -> None:
    with pytest.raises(FilterError) as caught:
        cbpf.check(program)
    assert part in str(caught.value)


def c_of(*insns: Insn, head: int = 64, pad: int = 2) -> str:
    return emit.function("f", (*insns, ACCEPT), head=head, pad=pad)


def test_a_load_is_aligned_for_the_stack() -> None:
    word = Insn(cbpf.LD | cbpf.WORD | cbpf.ABS, 0, 0, 14)
    assert "A = frame_u32(f->head + 14);" in c_of(word)
    halves = "(frame_u16(f->head + 14) << 16 | frame_u16(f->head + 16))"
    assert f"A = {halves};" in c_of(word, pad=0)


def test_a_load_behind_the_head_is_a_read() -> None:
    far = Insn(cbpf.LD | cbpf.WORD | cbpf.ABS, 0, 0, 61)
    assert "frame_read(f, 0x3dU, 4, &A)" in c_of(far)


def test_the_head_covers_the_fixed_loads_within_reason() -> None:
    near = Insn(cbpf.LD | cbpf.HALF | cbpf.ABS, 0, 0, 56)
    far = Insn(cbpf.LD | cbpf.HALF | cbpf.ABS, 0, 0, 1000)
    assert emit.head_len([(near, ACCEPT), (far, ACCEPT)]) == 58
    assert emit.head_len([(ACCEPT,)]) == emit.HEAD_MIN


@pytest.mark.parametrize(
    "text", ["ip6 protochain 6", "ip protochain 6 or ip6 protochain 17"]
)
def test_there_is_no_way_back(text: str) -> None:
    program = libpcap.compile_filter(text, ETHERNET)
    c_text = emit.function("f", program, head=64, pad=2)
    targets = set(re.findall(r"goto (b\d+);", c_text))
    assert targets
    for target in targets:
        assert c_text.rindex(f"goto {target};") < c_text.index(f"{target}:;")
