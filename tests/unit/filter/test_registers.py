from tccap.filter import cbpf, registers
from tccap.filter.basicblocks import Block, Branch, Goto, Return
from tccap.filter.cbpf import Insn
from tccap.filter.registers import Uses

LOAD = Insn(cbpf.LD | cbpf.HALF | cbpf.ABS, 0, 0, 12)
LOAD_BY_X = Insn(cbpf.LD | cbpf.BYTE | cbpf.IND, 0, 0, 0)
STORE = Insn(cbpf.ST, 0, 0, 0)
RECALL = Insn(cbpf.LD | cbpf.MEM, 0, 0, 0)
TEST = Branch(cbpf.JEQ, (0x0800,), 10, 11)


def test_uses_of_a_body() -> None:
    assert registers.body_uses((LOAD,)) == Uses(frozenset(), frozenset("A"))
    assert registers.body_uses((LOAD_BY_X,)) == Uses(frozenset("X"), frozenset("A"))
    assert registers.body_uses((LOAD, STORE)) == Uses(frozenset(), frozenset("A"))
    assert registers.body_uses((RECALL,)) == Uses(frozenset("M"), frozenset("A"))


def test_live_registers() -> None:
    blocks = {
        0: Block((LOAD, STORE), Goto(2)),
        2: Block((RECALL,), Branch(cbpf.JGT, (), 4, 5)),
        4: Block((), Return(None)),
        5: Block((), Return(0)),
    }
    assert registers.live(blocks) == {
        5: frozenset(),
        4: frozenset("A"),
        2: frozenset("MX"),
        0: frozenset("MX"),
    }


def test_closed_blocks_depend_on_the_packet_alone() -> None:
    assert registers.is_closed(Block((LOAD,), TEST))
    assert not registers.is_closed(Block((LOAD,), TEST._replace(values=())))
    assert not registers.is_closed(Block((LOAD, STORE), TEST))
    assert not registers.is_closed(Block((LOAD_BY_X,), TEST))
    assert not registers.is_closed(Block((LOAD,), Goto(2)))
    assert not registers.is_closed(Block((), TEST))
