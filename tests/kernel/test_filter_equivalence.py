"""The kernel's verdict is libpcap's, for every filter and every frame."""

import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import islice

import pytest

import expressions
import frames
import progrun
from support import libpcap_oracle
from support.libpcap_oracle import ETHERNET, RAW
from tccap.filter import libpcap
from tccap.filter.cbpf import FilterError, Program

# One filter in four on one frame in four takes a sixteenth of the time. Virtual
# machines are twenty times slower. make filters runs all, here or there.
_USUAL = "12" if os.environ.get("TCCAP_VM") else "4"
SAMPLE = int(os.environ.get("TCCAP_SAMPLE", _USUAL))
FILTERS = expressions.ALL[::SAMPLE]
FRAMES = 2400 // SAMPLE
FILTERS_IN_ONE = 16
TAGS = ((0x8100, 5), (0x88A8, 6), (0x8100, 0x2005))
# Makes the head a copy, and every read behind its first bytes go through the helper, as
# for data outside the linear part: in test runs of old kernels all data is linear.
NOT_IN_LINE = ("-DFRAME_IN_LINE(skb,from,size)=0", "-DFRAME_COPIED=96")

pytestmark = pytest.mark.timeout(7200)  # all of it in an emulated machine


@cache
def compiled(linktype: int) -> list[tuple[str, Program]]:
    """Return the filters that libpcap accepts for the link type."""
    accepted = []
    for text in FILTERS:
        try:
            accepted.append((text, libpcap.compile_filter(text, linktype)))
        except FilterError:
            continue
    return accepted


def batches(linktype: int) -> Iterator[list[tuple[str, Program]]]:
    """Yield batches without neighbours, which are alike: they share out the loops."""
    filters = compiled(linktype)
    count = -(-len(filters) // FILTERS_IN_ONE)
    for at in range(count):
        yield filters[at::count]


def differences(
    batch: Sequence[tuple[str, Program]],
    prog_fd: int,
    cases: Sequence[tuple[bytes, bytes, int]],
) -> Iterator[str]:
    """Yield the wrong verdicts; a case is (frame as in the file, skb data, mark)."""
    oracles = [libpcap_oracle.offline_filter(program) for _, program in batch]
    for shown, data, mark in cases:
        expected = sum(matches(shown) << at for at, matches in enumerate(oracles))
        got, _ = progrun.run(prog_fd, data, mark=mark)
        for at in range(len(batch)):
            if (expected ^ got) >> at & 1:
                yield f"{batch[at][0]}: kernel {got >> at & 1} for {shown.hex()}"


def plain_cases() -> list[tuple[bytes, bytes, int]]:
    return [(frame, frame, 0) for frame in frames.ethernet_frames(FRAMES)]


def tagged_cases() -> list[tuple[bytes, bytes, int]]:
    """Return frames with a tag that the kernel keeps in the skb, not in the data."""
    cases = []
    for at, frame in enumerate(frames.ethernet_frames(FRAMES, seed=9)):
        proto, tci = TAGS[at % len(TAGS)]
        shown = frame[:12] + struct.pack(">HH", proto, tci) + frame[12:]
        cases.append((shown, frame, proto << 16 | tci))
    return cases


def raw_cases() -> list[tuple[bytes, bytes, int]]:
    """Return IP packets behind an Ethernet header, which test runs need."""
    header = bytes(12) + b"\x08\x00"
    return [(frame, header + frame, 0) for frame in frames.raw_frames(FRAMES)]


def compare(
    way: str,
    some: Iterable[list[tuple[str, Program]]],
    cases: Sequence[tuple[bytes, bytes, int]],
    *flags: str,
    start: int,
) -> None:
    """Run all batches on all cases; print how many verdicts were the same."""
    filters = 0
    for batch in some:
        text, patches = progrun.verdicts([program for _, program in batch], start=start)
        owner, prog_fd = progrun.load(text, "verdicts", *flags, patches=patches)
        assert not list(islice(differences(batch, prog_fd, cases), 5))
        os.close(prog_fd)
        owner.cleanup()
        filters += len(batch)
    verdicts = (
        f"{filters} filters, {len(cases)} frames: {filters * len(cases)} verdicts"
    )
    print(f"{way}: {verdicts}, all equal to libpcap's")  # noqa: T201  # to be seen


# With the helper only the loads differ: a third of the filters is enough.
@pytest.mark.parametrize(
    ("flags", "every"), [((), 1), (NOT_IN_LINE, 3)], ids=["in-line", "not-in-line"]
)
def test_ethernet(flags: tuple[str, ...], every: int) -> None:
    cases = plain_cases() + tagged_cases()
    some = islice(batches(ETHERNET), 0, None, every)
    compare("Ethernet", some, cases, *flags, start=0)


def test_raw_ip() -> None:
    compare("raw IP", batches(RAW), raw_cases(), start=14)


@pytest.mark.same_everywhere
def test_most_filters_are_decisive() -> None:
    """Most filters accept some frames and reject some; else equality proves little."""
    shown = [frame for frame, _, _ in plain_cases() + tagged_cases()]
    decisive = 0
    for _, program in compiled(ETHERNET):
        matches = libpcap_oracle.offline_filter(program)
        decisive += len({matches(frame) for frame in shown}) == 2
    assert decisive >= 0.9 * len(compiled(ETHERNET))
    assert SAMPLE > 1 or decisive >= 200
