from tccap.filter import cbpf
from tccap.filter.basicblocks import Block, Branch, Return
from tccap.filter.cbpf import Insn
from tccap.filter.jumpthreading import thread

TYPE = (Insn(cbpf.LD | cbpf.HALF | cbpf.ABS, 0, 0, 12),)
NO, YES = Block((), Return(0)), Block((), Return(1))


def is_equal(value: int, yes: int, no: int) -> Block:
    return Block(TYPE, Branch(cbpf.JEQ, (value,), yes, no))


def test_a_test_that_was_made_is_skipped() -> None:
    blocks = {0: is_equal(1, 2, 3), 2: is_equal(1, 8, 9), 3: is_equal(1, 8, 9)}
    assert thread({**blocks, 8: YES, 9: NO}) == {
        0: is_equal(1, 8, 9),
        8: YES,
        9: NO,
    }


def test_a_value_is_equal_to_one_number_only() -> None:
    blocks = {0: is_equal(1, 2, 9), 2: is_equal(2, 8, 9), 8: YES, 9: NO}
    assert thread(blocks)[0] == is_equal(1, 9, 9)


def test_a_test_of_another_value_stays() -> None:
    blocks = {0: is_equal(1, 9, 3), 3: is_equal(2, 8, 9), 8: YES, 9: NO}
    assert thread(blocks) == blocks


def test_a_test_whose_value_is_read_later_stays() -> None:
    returns_it = Block((), Return(None))
    blocks = {0: is_equal(1, 2, 9), 2: is_equal(1, 8, 9), 8: returns_it, 9: NO}
    assert thread(blocks)[0].end == Branch(cbpf.JEQ, (1,), 2, 9)
