from tccap.filter import cbpf
from tccap.filter.basicblocks import Block, Branch, Return
from tccap.filter.cbpf import Insn, Program
from tccap.filter.grouping import group

SOURCE = (Insn(cbpf.LD | cbpf.WORD | cbpf.ABS, 0, 0, 26),)
TARGET = (Insn(cbpf.LD | cbpf.WORD | cbpf.ABS, 0, 0, 30),)
NO, YES = Block((), Return(0)), Block((), Return(1))


def is_one_of(body: Program, values: tuple[int, ...], yes: int, no: int) -> Block:
    return Block(body, Branch(cbpf.JEQ, values, yes, no))


def test_equalities_of_one_value_become_one_block() -> None:
    blocks = {
        0: is_one_of(SOURCE, (3,), 8, 1),
        1: is_one_of(SOURCE, (1,), 8, 2),
        2: is_one_of((), (2,), 8, 9),  # A is still the source
        8: YES,
        9: NO,
    }
    assert group(blocks) == {0: is_one_of(SOURCE, (1, 2, 3), 8, 9), 8: YES, 9: NO}


def test_first_loads_keep_their_order() -> None:
    blocks = {
        0: is_one_of(SOURCE, (1,), 8, 1),
        1: is_one_of(TARGET, (1,), 8, 2),
        2: is_one_of(SOURCE, (2,), 8, 3),
        3: is_one_of(TARGET, (2,), 8, 9),
        8: YES,
        9: NO,
    }
    bodies = [block.body for block in group(blocks).values() if block.body]
    assert bodies[:2] == [SOURCE, TARGET]
    assert group(blocks)[1] == is_one_of(TARGET, (1, 2), 8, 2)
    assert group(blocks)[2] == is_one_of(SOURCE, (2,), 8, 9)


def test_a_block_with_another_entry_or_exit_stays() -> None:
    other_exit = {0: is_one_of(SOURCE, (1,), 8, 1), 1: is_one_of(SOURCE, (2,), 9, 8)}
    assert group({**other_exit, 8: YES, 9: NO}) == {**other_exit, 8: YES, 9: NO}
    entered = {
        0: is_one_of(TARGET, (7,), 2, 1),
        1: is_one_of(SOURCE, (1,), 8, 2),
        2: is_one_of(SOURCE, (2,), 8, 9),
    }
    assert group({**entered, 8: YES, 9: NO}) == {**entered, 8: YES, 9: NO}
