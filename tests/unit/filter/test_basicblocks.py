from support.libpcap_oracle import ETHERNET
from tccap.filter import basicblocks, cbpf, libpcap
from tccap.filter.basicblocks import Block, Branch, Goto, Return

BRANCH = Branch(cbpf.JEQ, (1,), 5, 7)


def test_a_program_is_cut_at_its_jumps_and_their_targets() -> None:
    program = libpcap.compile_filter("ip", ETHERNET)
    assert basicblocks.parse(program) == {
        0: Block(program[:1], Branch(cbpf.JEQ, (0x0800,), 2, 3)),
        2: Block((), Return(262144)),
        3: Block((), Return(0)),
    }


def test_exits_and_their_redirection() -> None:
    assert basicblocks.exits(Block((), BRANCH)) == (5, 7)
    assert basicblocks.exits(Block((), Goto(3))) == (3,)
    assert basicblocks.exits(Block((), Return(0))) == ()
    assert basicblocks.redirect(BRANCH, [8, 9]) == Branch(cbpf.JEQ, (1,), 8, 9)
    assert basicblocks.redirect(Goto(3), [8]) == Goto(8)
    assert basicblocks.redirect(Return(0), []) == Return(0)
