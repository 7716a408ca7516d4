"""The ring between the classifiers and the carrier: several CPUs, and wake-ups."""

import contextlib
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import flood, netns, running, stream

PORTS = (netns.DISCARD_PORT, netns.DISCARD_PORT + 1)
DESTINATION, PAYLOAD = 14 + 20 + 2, 14 + 20 + 8
SMALL, LARGE = ("1000", "20000"), ("60000", "1500", "1400")
FIRST_PACKETS = 200


def _flood(pair: netns.Pair, cpu: int, port: int, load: tuple[str, ...]) -> list[str]:
    program = (sys.executable, flood.__file__, pair.far_address, str(port), *load)
    return pair.near.command("taskset", "-c", str(cpu), *program)


def _numbers(found: stream.Stream, port: int) -> list[int]:
    """Return the numbers of the packets to a port."""
    wanted = struct.pack("!H", port)
    return [
        struct.unpack_from("=Q", frame.data, PAYLOAD)[0]
        for frame in found.frames
        if frame.data[DESTINATION : DESTINATION + 2] == wanted
    ]


@pytest.mark.parametrize(
    "weak_order",
    [
        pytest.param(False, id="x86"),
        pytest.param(True, id="weak-order", marks=pytest.mark.same_everywhere),
    ],
)
def test_blocks_of_two_processors_are_whole_and_in_order(
    pair: netns.Pair, weak_order: bool
) -> None:
    """Frames of a thousand bytes and of 60,000, many times round a ring of 1 MiB."""
    cpus = sorted(os.sched_getaffinity(0))
    loads = (SMALL, LARGE)
    commands = [
        _flood(pair, cpu, port, load)
        for cpu, port, load in zip((cpus[0], cpus[-1]), PORTS, loads, strict=True)
    ]
    with running.engine(
        pair.near,
        "veth0",
        weak_order=weak_order,
        label="short",
        ring_mib=1,
        direction="out",
    ) as engine:
        senders = [
            subprocess.Popen(each, stdout=subprocess.DEVNULL) for each in commands
        ]
        assert [each.wait(running.DEADLINE_S) for each in senders] == [0, 0]
        found = engine.stop()
    numbers = [_numbers(found, port) for port in PORTS]
    for each, (_, count, *_rest) in zip(numbers, loads, strict=True):
        assert each == sorted(set(each))
        assert not each or each[-1] < int(count)
    counts = found.counts[0]
    assert sum(map(len, numbers)) + counts.dropped == counts.accepted
    assert counts.accepted == sum(int(load[1]) for load in loads)
    assert len(found.frames) + counts.dropped == counts.accepted


@pytest.fixture
def quiet(pair: netns.Pair) -> Iterator[running.Engine]:
    with running.engine(pair.near, "veth0", direction="out") as engine:
        yield engine
        engine.end()


def test_each_first_packet_wakes_the_carrier(
    pair: netns.Pair, quiet: running.Engine
) -> None:
    """Without one wake-up the packet would stay until another one comes."""
    assert quiet.output
    with pair.near.entered():
        sock = socket.socket(type=socket.SOCK_DGRAM)
    with sock:
        for number in range(FIRST_PACKETS):
            text = b"first packet %d." % number
            sock.sendto(text, (pair.far_address, netns.DISCARD_PORT))
            quiet.output.wait_for(text)


def test_an_idle_capture_sleeps(quiet: running.Engine) -> None:
    processes = (quiet.process.pid, running.carrier(quiet.process.pid))

    def is_asleep() -> bool:
        before = [_wakeups(pid) for pid in processes]
        with contextlib.suppress(subprocess.TimeoutExpired):
            quiet.process.wait(1)
        return before == [_wakeups(pid) for pid in processes]

    # The devices' addresses may still be settling.
    running.until(is_asleep, "a second without a wake-up")


def _wakeups(pid: int) -> int:
    """Return how often the threads of a process have gone to sleep."""
    texts = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    lines = [line for text in texts for line in text.splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary"))
