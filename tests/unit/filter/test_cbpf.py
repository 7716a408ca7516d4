import pytest

from tccap.filter import cbpf
from tccap.filter.cbpf import FilterError, Insn, Program

REJECT = Insn(cbpf.RET, 0, 0, 0)


@pytest.mark.parametrize(
    ("program", "part"),
    [
        ((), "0 instructions"),
        ((Insn(0xFF, 0, 0, 0), REJECT), "unknown (0xff)"),
        ((Insn(0x15, 0, 5, 0), REJECT), "jumps out of the program"),
        ((Insn(0x28, 0, 0, 12),), "jumps out of the program"),
        ((Insn(0x05, 0, 0, 0xFFFF_FFF0), REJECT), "jumps out of the program"),
        ((Insn(0x02, 0, 0, 16), REJECT), "scratch word 16 of 16"),
        ((Insn(0x28, 0, 0, 0xFFFF_F000), REJECT), "outside the packet"),
    ],
)
def test_a_bad_program_is_refused(program: Program, part: str) -> None:
    with pytest.raises(FilterError) as caught:
        cbpf.check(program)
    assert part in str(caught.value)


def test_a_program_of_libpcap_is_accepted() -> None:
    cbpf.check((Insn(0x28, 0, 0, 12), Insn(0x15, 0, 1, 0x0800), REJECT, REJECT))


@pytest.mark.parametrize(
    ("insn", "expected"),
    [
        (Insn(cbpf.RET, 0, 0, 0), ()),
        (Insn(cbpf.LD | cbpf.IMM, 0, 0, 0), (8,)),
        (Insn(cbpf.JMP | cbpf.JA, 0, 0, 3), (11,)),
        (Insn(cbpf.JMP | cbpf.JA, 0, 0, 0xFFFF_FFFD), (5,)),  # back
        (Insn(cbpf.JMP | cbpf.JEQ, 2, 0, 1), (10, 8)),
    ],
)
def test_successors(insn: Insn, expected: tuple[int, ...]) -> None:
    assert cbpf.successors(7, insn) == expected
