"""Cutting a stream at the ends of its blocks, wherever its pieces end."""

import struct

import pytest

from support.blocks import (
    INTERFACE,
    PACKET,
    SECRETS,
    SECTION,
    STATISTICS,
    block,
)
from tccap.errors import TccapError
from tccap.stream.wholeblocks import WholeBlocks


def _block(kind: int, number: int = 0) -> bytes:
    return block(kind, struct.pack("=I", number))


STREAM = b"".join(
    (
        _block(SECTION),
        _block(INTERFACE),
        *(_block(PACKET, number) for number in range(5)),
        _block(SECRETS),
        _block(INTERFACE),
        _block(PACKET, 5),
        _block(STATISTICS),
    )
)


@pytest.mark.parametrize("size", [1, 3, 7, 8, 15, 16, 17, 1000])
def test_pieces_of_any_size_give_the_same(size: int) -> None:
    blocks = WholeBlocks()
    pieces = [blocks.take(STREAM[i : i + size]) for i in range(0, len(STREAM), size)]
    assert b"".join(pieces) == STREAM
    assert all(len(piece) % 16 == 0 for piece in pieces)
    assert blocks.packets == 6
    assert not blocks.is_full


@pytest.mark.parametrize("size", [1, 16, 1000])
def test_after_the_last_packet_only_descriptions_pass(size: int) -> None:
    blocks = WholeBlocks(3)
    pieces = [blocks.take(STREAM[i : i + size]) for i in range(0, len(STREAM), size)]
    kept = STREAM[: 5 * 16] + _block(INTERFACE) + _block(STATISTICS)
    assert b"".join(pieces) == kept
    assert blocks.packets == 3
    assert blocks.is_full


@pytest.mark.parametrize("length", [0, 8, 13, 1 << 25])
def test_what_has_no_possible_length_is_refused(length: int) -> None:
    with pytest.raises(TccapError, match="no pcapng block"):
        WholeBlocks().take(struct.pack("=II", PACKET, length) + bytes(8))
