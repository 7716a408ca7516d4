"""Frames of every kind, through the real classifiers by BPF_PROG_TEST_RUN.

Each frame comes out of the ring unchanged, cut to the snapshot length, and the
verdict is always TC_ACT_UNSPEC. Short; ``make fuzz`` takes longer.
"""

import errno
import os
import random
import struct
import sys

import pytest

import fuzz
import progrun
from support import frames, stream
from support.detached import Detached, detached
from tccap.stream import abi
from tccap.stream.ring import Ring

pytestmark = pytest.mark.full_matrix

TOTAL = int(os.environ.get("TCCAP_FUZZ_CASES", "10000"))
SHARE = 20  # percent of all cases
SNAPLEN = 1000
TC_ACT_UNSPEC = 0xFFFFFFFF
MIN_LEN = 14
MAX_LEN = 3500  # the limit of a test run is less than a page
EPB = stream.EPB


@pytest.fixture(scope="module", name="capture", params=["off", "short"])
def _capture(request: pytest.FixtureRequest) -> Detached:
    return detached(label=request.param, snaplen=SNAPLEN, ring_size=4)


def _random(rng: random.Random) -> bytes:
    return rng.randbytes(rng.randrange(MIN_LEN, 200))


def _damaged(rng: random.Random) -> bytes:
    whole = rng.choice(_CATALOGUE)
    return fuzz.mutated(rng, whole)[: rng.randrange(MIN_LEN, MAX_LEN)]


def _cut(rng: random.Random) -> bytes:
    whole = rng.choice(_CATALOGUE)
    return whole[: rng.randrange(MIN_LEN, len(whole) + 1)]


def _largest(rng: random.Random) -> bytes:
    return rng.choice(_CATALOGUE)[:60] + rng.randbytes(MAX_LEN - 60)


def _headers(rng: random.Random) -> bytes:
    """Chains of headers that announce headers which are not there."""
    kind = rng.choice((0x0800, 0x86DD, 0x8100, 0x88A8, 0x8847))
    tags = tuple((0x8100, rng.randrange(1 << 16)) for _ in range(rng.randrange(4)))
    first = rng.choice((0x40, 0x60, 0x4F, 0x45, 0xFF, 0x00))
    chain = bytes(rng.choices((0, 43, 44, 50, 51, 60, 17, 6, 1, 58, 255), k=80))
    return frames.ethernet(kind, bytes([first]) + chain + rng.randbytes(40), tags)


_CATALOGUE = [f for f in frames.CATALOGUE.values() if MIN_LEN <= len(f) <= MAX_LEN]
_KINDS = (_random, _damaged, _cut, _largest, _headers)


@pytest.mark.timeout(0 if TOTAL > 100_000 else 600)
@pytest.mark.parametrize("direction", ["in", "out"])
def test_every_frame_comes_out_unchanged(capture: Detached, direction: str) -> None:
    refused = taken = 0
    for number in range(fuzz.cases(TOTAL, SHARE) // 4):
        rng = random.Random(f"{direction} {fuzz.seed()} {number}")
        frame = rng.choice(_KINDS)(rng).ljust(MIN_LEN + 1, b"\0")
        try:
            verdict = progrun.verdict(capture.programs[direction], frame)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            refused += 1  # the kernel builds no packet from it
            continue
        assert verdict == TC_ACT_UNSPEC, number
        assert _captured(capture.ring) == (frame[:SNAPLEN], len(frame)), number
        taken += 1
    assert taken > refused
    sys.stdout.write(f"\npackets, {direction}: {taken} cases, 0 crashes")
    sys.stdout.write(f" ({refused} that the kernel builds no packets from)\n")


def _captured(ring: Ring) -> tuple[bytes, int]:
    """Return data and original length of the one packet in the ring.

    Some frames make a connection of TLS, whose packets come with a message each.
    """
    blocks: list[bytes] = []
    while batch := ring.take():
        blocks += filter(None, [bytes(batch.blocks)])
        if abi.has_packet(batch.message):
            blocks.append(bytes(abi.HeldPacket.parse(batch.message).block))
        ring.release(batch)
    (block,) = blocks
    kind, length = struct.unpack_from("=II", block)
    assert (kind, length) == (EPB, len(block))
    frame = stream._frame(block[8:-4])
    return frame.data, frame.original_len
