"""The wall clock is set while a capture runs: packets follow it."""

import socket
import time

import pytest

from support import frames, netns, probes, running, wallclock

STEP_NS = 20_000_000
TOLERANCE_NS = 1_000_000  # of the boot clock plus offset against the wall clock


def _send(sock: socket.socket, pair: netns.Pair) -> tuple[bytes, int, int]:
    """Send a packet; return its mark, and the times before and after it was sent.

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


@pytest.mark.alone  # the machine has one clock
def test_times_follow_the_clock() -> None:
    probes.skip_unless(wallclock.may_be_set(), "right to set the clock", since=(2, 6))
    with netns.pair() as pair, pair.near.entered():
        sock = socket.socket(type=socket.SOCK_DGRAM)
        with (
            sock,
            running.engine(pair.near, "veth0", direction="out") as engine,
            wallclock.restored(),
        ):
            first = _send(sock, pair)
            time.clock_settime_ns(time.CLOCK_REALTIME, time.time_ns() + STEP_NS)
            engine.wait_for("The clock was set.")
            second = _send(sock, pair)
            found = engine.stop()
    for mark, before_ns, after_ns in (first, second):
        (time_ns,) = (f.time_ns for f in found.frames if f.data.endswith(mark))
        assert before_ns - TOLERANCE_NS < time_ns < after_ns + TOLERANCE_NS
