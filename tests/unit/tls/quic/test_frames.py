"""Frames of Initial packets, and a ClientHello in pieces."""

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from support.quicpackets import client_hello, crypto, varint
from tccap.tls.quic import frames
from tccap.tls.quic.frames import FRAMES_MAX, START_LEN, HelloStart

RANDOM = bytes(range(32))
ACK = b"\x02\x05\x00\x01\x02\x01\x01"
ACK_ECN = b"\x03" + ACK[1:] + b"\x01\x02\x03"


def test_frames_between_others() -> None:
    payload = b"".join(
        [b"\0\0\x01", crypto(0, b"a"), ACK, b"\0", ACK_ECN, crypto(70, b"b"), b"\0"]
    )
    assert frames.read(payload) == ([(0, b"a"), (70, b"b")], False)


def test_an_end() -> None:
    payload = crypto(0, b"a") + b"\x1c" + varint(0x128) + varint(0) + varint(0)
    assert frames.read(payload) == ([(0, b"a")], True)


def test_work_for_a_packet_has_an_end() -> None:
    """Whatever fills it, up to the longest that there are."""
    pieces = frames.read(crypto(0, b"") * (1 << 14))
    assert len(pieces.crypto) == FRAMES_MAX
    ranges = b"\x02\0\0" + varint(FRAMES_MAX + 1) + bytes(1 << 16)
    assert frames.read(crypto(0, b"a") + ranges) == ([(0, b"a")], False)


def test_reading_ends_at_a_frame_that_may_not_be_there() -> None:
    assert frames.read(b"\x1d" + crypto(0, b"a")) == frames.NONE
    assert frames.read(crypto(0, b"a") + crypto(1, b"b")[:-1]) == ([(0, b"a")], False)


def test_an_ack_of_endless_ranges() -> None:
    assert frames.read(b"\x02\x05\x00" + varint((1 << 62) - 1) + bytes(9)) == (
        frames.NONE
    )


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail(payload: bytes) -> None:
    for offset, piece in frames.read(payload).crypto:
        HelloStart().add(offset, piece)


@given(
    st.lists(st.integers(1, START_LEN + 20), max_size=12),
    st.randoms(use_true_random=False),
)
def test_pieces_in_any_order(cuts: list[int], rng: random.Random) -> None:
    hello = client_hello(RANDOM)
    bounds = sorted({0, *cuts, len(hello)})
    pieces = [(a, hello[a:b]) for a, b in itertools.pairwise(bounds)]
    rng.shuffle(pieces)
    start = HelloStart()
    for number, (offset, piece) in enumerate(pieces):
        needed = any(at < START_LEN for at, _ in pieces[number:])
        assert (start.client_random is None) == needed
        start.add(offset, piece)
    assert start.client_random == RANDOM


def test_what_is_no_client_hello() -> None:
    for wrong in (b"\x02", b"\x01\x00\x00\x00\x03\x01"):
        start = HelloStart()
        start.add(0, wrong + bytes(START_LEN))
        assert start.client_random is None
