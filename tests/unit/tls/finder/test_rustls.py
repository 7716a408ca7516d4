"""rustls is probed where its key log is called, and nowhere else."""

import os
import random
from dataclasses import replace
from typing import Any

import pytest

from support.rustfile import Program, Shape
from tccap.tls.finder.inspect import inspect
from tccap.tls.sites import Site

CASES = int(os.environ.get("TCCAP_FINDER_RUSTLS", "16"))
FAULTS: dict[str, dict[str, Any]] = {
    "shifted label": {"reference_shift": 1},
    "length of another text": {"len_shift": 1},
    "another label": {"other_label": True},
    "another object": {"other_object": True},
    "no client_random": {"random_len": 31},
    "the answer is not tested": {"tests": b"\x84\xdb"},
    "more than the answer is tested": {"tests": b"\x48\x85\xc0"},
    "called directly": {"direct": True},
    "the length is no word of memory": {"constant_len": True},
    "jumped into": {"cold": True},
}
OF_TABLES: dict[str, dict[str, Any]] = {
    **{fault: FAULTS[fault] for fault in FAULTS if fault != "another label"},
    "another table": {"entry_shift": 18},
}


def found(shape: Shape) -> tuple[set[Site], set[Site]]:
    """Return the sites that are found, and those that are there."""
    program = Program(shape)
    return set(inspect(program.content).sites), program.sites


LENS_FROM = ("memory", "register", "function")


@pytest.mark.parametrize("len_from", LENS_FROM)
@pytest.mark.parametrize("seed", range(3))
def test_calls_for_one_secret_each_are_found(seed: int, len_from: str) -> None:
    sites, there = found(Shape(seed, len_from=len_from))
    assert sites == there
    assert len(sites) == 8


@pytest.mark.parametrize("byte_lens", [False, True])
@pytest.mark.parametrize("len_from", LENS_FROM)
@pytest.mark.parametrize("seed", range(3))
def test_the_calls_of_a_function_for_all_secrets_are_found(
    seed: int, len_from: str, *, byte_lens: bool
) -> None:
    """It has the labels from a table."""
    shape = Shape(seed, table=True, byte_lens=byte_lens, len_from=len_from)
    sites, there = found(shape)
    assert sites == there
    assert len(sites) == 2


@pytest.mark.parametrize("beside_c", [False, True])
def test_another_library_that_is_not_understood_is_told(*, beside_c: bool) -> None:
    """Its labels are there, with NUL, but no code that uses them."""
    program = Program(Shape(1, beside_c=beside_c))
    answer = inspect(program.content)
    assert {*answer.sites} == program.sites
    assert answer.library == "rustls"
    assert answer.how == "emulation" + ", but not another library" * beside_c


@pytest.mark.parametrize("fault", FAULTS)
def test_code_that_does_something_else_is_refused(fault: str) -> None:
    shape = Shape(1, **FAULTS[fault])
    assert found(shape)[0] == set()


@pytest.mark.parametrize(
    "fault", sorted({*FAULTS} - {"the length is no word of memory"})
)
def test_such_code_is_refused_with_a_length_in_a_register(fault: str) -> None:
    """A constant in a register is a length like any other: the probe reads it."""
    shape = Shape(1, len_from="register", **FAULTS[fault])
    assert found(shape)[0] == set()


@pytest.mark.parametrize("byte_lens", [False, True])
@pytest.mark.parametrize("fault", OF_TABLES)
def test_a_table_of_something_else_is_refused(fault: str, *, byte_lens: bool) -> None:
    shape = Shape(1, table=True, byte_lens=byte_lens, **OF_TABLES[fault])
    assert found(shape)[0] == set()


def any_shape(draw: random.Random, seed: int) -> Shape:
    """Return a shape of which two thirds are damaged."""
    shape = Shape(
        seed,
        table=draw.random() < 0.5,
        byte_lens=draw.random() < 0.5,
        len_from=draw.choice(LENS_FROM),
    )
    fault = draw.choice(list((OF_TABLES if shape.table else FAULTS).values()))
    shift = draw.choice([n for n in range(-40, 40) if n])
    shifted = draw.choice(["reference_shift", "len_shift", "entry_shift"])
    return replace(shape, **draw.choice([{}, fault, {shifted: shift}]))


def test_no_program_is_probed_at_a_wrong_place() -> None:
    draw = random.Random(21)
    understood = 0
    for seed in range(CASES):
        shape = any_shape(draw, seed)
        sites, there = found(shape)
        assert sites in (set(), there), shape
        understood += bool(sites)
    assert understood >= CASES / 4
