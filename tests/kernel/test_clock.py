"""The wall clock is set while a capture runs: packets follow it."""

import contextlib
import socket
import time
from collections.abc import Iterator

from support import netns, probes, running
from tccap import clock

STEP_NS = 20_000_000
TOLERANCE_NS = 5_000_000


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


def test_times_follow_the_clock() -> None:
    probes.skip_unless(_may_set(), "right to set the clock", since=(2, 6))
    with netns.pair() as pair, pair.near.entered():
        sock = socket.socket(type=socket.SOCK_DGRAM)
        with sock, running.engine(pair.near, "veth0") as engine, _restored():
            sock.sendto(b"tick", (pair.far_address, 9))
            before_ns = time.time_ns()
            time.clock_settime_ns(time.CLOCK_REALTIME, time.time_ns() + STEP_NS)
            engine.wait_for("The clock was set.")
            sock.sendto(b"tick", (pair.far_address, 9))
            after_ns = time.time_ns()
            found = engine.stop()
    first_ns, second_ns = (
        f.time_ns for f in found.frames if b"tick" in f.data and f.direction == 2
    )
    assert abs(first_ns - before_ns) < TOLERANCE_NS
    assert abs(second_ns - after_ns) < TOLERANCE_NS
    assert second_ns - first_ns > STEP_NS - TOLERANCE_NS
