"""The wall clock is set while a capture runs: packets follow it."""

import contextlib
import socket
import time
from collections.abc import Iterator

from support import frames, netns, probes, running
from tccap import clock

STEP_NS = 20_000_000
TOLERANCE_NS = 1_000_000  # of the boot clock plus offset against the wall clock


@contextlib.contextmanager
def _restored() -> Iterator[None]:
    """Put the clock back to where it would be."""
    offset_ns = clock.wall_offset_ns()
    try:
        yield
    finally:
        now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + offset_ns
        time.clock_settime_ns(time.CLOCK_REALTIME, now_ns)


def _may_set() -> bool:
    try:
        time.clock_settime_ns(time.CLOCK_REALTIME, time.time_ns())
    except PermissionError:
        return False
    return True


def _send(sock: socket.socket, pair: netns.Pair) -> tuple[bytes, int, int]:
    """Send a packet; return its mark, and two times between which it was sent.

    A machine that is busy may stop us between the two looks at the clock: then
    send another one.
    """
    while True:
        mark = frames.marker()
        before_ns = time.time_ns()
        sock.sendto(mark, (pair.far_address, netns.DISCARD_PORT))
        after_ns = time.time_ns()
        if after_ns - before_ns < STEP_NS / 2:
            return mark, before_ns, after_ns


def test_times_follow_the_clock() -> None:
    probes.skip_unless(_may_set(), "right to set the clock", since=(2, 6))
    with netns.pair() as pair, pair.near.entered():
        sock = socket.socket(type=socket.SOCK_DGRAM)
        with (
            sock,
            running.engine(pair.near, "veth0", direction="out") as engine,
            _restored(),
        ):
            first = _send(sock, pair)
            time.clock_settime_ns(time.CLOCK_REALTIME, time.time_ns() + STEP_NS)
            engine.wait_for("The clock was set.")
            second = _send(sock, pair)
            found = engine.stop()
    for mark, before_ns, after_ns in (first, second):
        (time_ns,) = (f.time_ns for f in found.frames if f.data.endswith(mark))
        assert before_ns - TOLERANCE_NS < time_ns < after_ns + TOLERANCE_NS
