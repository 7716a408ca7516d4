"""No probe is set at a place of a Go program that is not proven."""

import os
import random
from dataclasses import replace

import pytest

from support.gofile import Program, Shape
from tccap.tls.finder import golang
from tccap.tls.finder.errors import RefusedError
from tccap.tls.finder.image import Image

CASES = int(os.environ.get("TCCAP_GO_CASES", "200"))
RELOCATIONS = ("none", "rela", "relr")


def found(shape: Shape) -> tuple[list[int], int]:
    """Return the addresses of the sites, and the one that is right."""
    program = Program(shape)
    try:
        sites = golang.sites(Image(program.content, frozenset()))
    except RefusedError:
        sites = ()
    return [site.address for site in sites], program.log_function


@pytest.mark.parametrize("relocations", RELOCATIONS)
@pytest.mark.parametrize("text_in_header", [False, True])
@pytest.mark.parametrize("c_len", [0, 1000])
def test_a_program_is_understood_however_it_is_linked(
    relocations: str, text_in_header: bool, c_len: int
) -> None:
    for seed in range(10):
        places, right = found(
            Shape(
                seed,
                relocations=relocations,
                text_in_header=text_in_header,
                c_len=c_len,
                cold=seed % 2 == 0,
                decoys=seed % 3,
            )
        )
        assert places == [right]


def test_a_function_that_gets_no_labels_is_not_probed() -> None:
    assert found(Shape(1, callers=False))[0] == []


@pytest.mark.parametrize("shift", [*range(-40, 0), *range(1, 40)])
def test_a_shifted_table_is_refused(shift: int) -> None:
    assert found(Shape(shift, row_shift=shift))[0] == []
    assert found(Shape(shift, text_shift=shift))[0] == []
    assert found(Shape(shift, text_shift=shift, ends_shift=shift))[0] == []


def any_shape(draw: random.Random, seed: int) -> Shape:
    """Return a shape of which about half are damaged."""
    shape = Shape(
        seed,
        functions=draw.randrange(6, 24),
        c_len=draw.choice((0, draw.randrange(2000))),
        relocations=draw.choice(RELOCATIONS),
        text_in_header=draw.random() < 0.5,
        cold=draw.random() < 0.5,
        decoys=draw.choice((0, 0, 3)),
        callers=draw.random() < 0.9,
    )
    shift = draw.choice((draw.randrange(-64, 64), 32 * draw.randrange(-16, 16)))
    damage = draw.randrange(6)
    if damage == 0:
        return replace(shape, row_shift=shift)
    if damage == 1:
        return replace(shape, text_shift=shift)
    if damage == 2:  # as if the text began elsewhere, and all agreed on it
        return replace(shape, text_shift=shift, ends_shift=shift)
    return shape


def test_no_program_is_probed_at_a_wrong_place() -> None:
    draw = random.Random(21)
    understood = 0
    for seed in range(CASES):
        shape = any_shape(draw, seed)
        places, right = found(shape)
        assert places in ([], [right]), shape
        understood += bool(places)
    assert understood > CASES / 3
