"""Readers that are too slow, or stopped: lost packets are counted exactly."""

import os
import signal
import threading
from pathlib import Path

import pytest

from faults import traffic
from faults.table import Row
from support import netns, running, stream

STOP_S = traffic.seconds("TCCAP_STOP_S", 1)
# Python's own growth beside the ring, however long the reader is stopped.
GROWTH_KIB = 4096


@pytest.mark.parametrize("ring_mib", [1, 16])
def test_a_stopped_reader(
    pair: netns.Pair, rows: list[Row], tmp_path: Path, ring_mib: int
) -> None:
    file = tmp_path / "file"
    with traffic.cat(file) as (reader, pipe), traffic.sender(pair) as sender:
        with running.engine(
            pair.near, "veth0", stdout=pipe, ring_mib=ring_mib, direction="out"
        ) as engine:
            os.close(pipe)
            sender.send(1000)
            before = traffic.memory_kib(running.carrier(engine.process.pid))
            os.kill(reader.pid, signal.SIGSTOP)
            for _ in traffic.until_s(STOP_S):
                sender.send(50_000, 1000)
            engine.wait_for('"lost"')
            grown = traffic.memory_kib(running.carrier(engine.process.pid)) - before
            os.kill(reader.pid, signal.SIGCONT)
            last = _until_it_goes_on(file, sender)
            engine.end()
        assert reader.wait(running.DEADLINE_S) == 0
    found = stream.parse(file.read_bytes())
    assert any(last in frame.data for frame in found.frames)
    assert traffic.counted(found) > 0
    assert grown < GROWTH_KIB
    rows.append(
        traffic.accounted(
            f"reader stopped {STOP_S:.0f} s, ring of {ring_mib} MiB",
            f"went on when the reader came back; {grown} KiB more memory",
            sender.sent,
            found,
        )
    )


def _until_it_goes_on(file: Path, sender: traffic.Sender) -> bytes:
    mark = b"goes on after the stop"

    def seen() -> bool:
        sender.say(mark)
        return mark in file.read_bytes()

    running.until(seen, "a packet after the stop")
    return mark


def test_a_slow_reader(pair: netns.Pair, rows: list[Row]) -> None:
    read_fd, write_fd = os.pipe()
    data = bytearray()

    def read_slowly() -> None:
        pause = threading.Event()
        while more := os.read(read_fd, 20_000):
            data.extend(more)
            pause.wait(0.001)

    thread = threading.Thread(target=read_slowly)
    with (
        traffic.sender(pair) as sender,
        running.engine(
            pair.near, "veth0", stdout=write_fd, ring_mib=1, direction="out"
        ) as engine,
    ):
        os.close(write_fd)
        thread.start()
        before = traffic.memory_kib(running.carrier(engine.process.pid))
        sender.send(50_000, 1000)
        engine.wait_for('"lost"')
        grown = traffic.memory_kib(running.carrier(engine.process.pid)) - before
        end = engine.end()
        thread.join()
    os.close(read_fd)
    found = stream.parse(bytes(data))
    assert end["complete"]
    assert traffic.counted(found) > 0
    assert grown < GROWTH_KIB
    rows.append(
        traffic.accounted(
            "reader of 20 MB/s at most, ring of 1 MiB",
            f"{grown} KiB more memory",
            sender.sent,
            found,
        )
    )
