"""The simplified blocks, judged by libpcap's interpreter.

They are written back as classic BPF, so that the oracle runs both. The kernel
tests compare the C of the blocks with the oracle.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import expressions
from frames import ethernet_frames
from support.libpcap_oracle import ETHERNET, matches_offline, offline_filter
from tccap.filter import basicblocks, cbpf, libpcap
from tccap.filter.basicblocks import Blocks, Branch, Goto, Return
from tccap.filter.cbpf import FilterError, Insn, Program
from tccap.filter.simplify import simplify

FRAMES = ethernet_frames(400)
ACCEPT, REJECT = Insn(cbpf.RET, 0, 0, 1), Insn(cbpf.RET, 0, 0, 0)
JUMP = cbpf.JMP | cbpf.JA


def flatten(blocks: Blocks) -> Program:
    """Return classic BPF for blocks; every jump goes through JA, which reaches far."""
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
    simple = flatten(simplify(basicblocks.parse(program)))
    before, after = (
        offline_filter(program),
        offline_filter(simple),
    )
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
    """Return the body with its jumps kept inside, and both returns behind it."""
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
    simple = flatten(simplify(basicblocks.parse(program)))
    expected = matches_offline(program, frame)
    assert matches_offline(simple, frame) == expected


@pytest.mark.parametrize("word", ["host 10.0.{0}.{1}", "port 1{0}{1}"])
def test_500_terms_become_a_few_blocks(word: str) -> None:
    text = " or ".join(word.format(n // 50, n % 50 + 3) for n in range(500))
    program = libpcap.compile_filter(text, ETHERNET)
    blocks = simplify(basicblocks.parse(program))
    assert len(program) > 1_800
    assert len(blocks) < 40
    simple = flatten(blocks)
    before, after = (
        offline_filter(program),
        offline_filter(simple),
    )
    verdicts = [before(frame) for frame in FRAMES]
    assert len(set(verdicts)) == 2
    assert [after(frame) for frame in FRAMES] == verdicts
