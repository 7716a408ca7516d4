"""Missing descriptors, disk space and rights; and a clock that jumps."""

import contextlib
import itertools
import json
import os
import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults import traffic
from faults.table import Row
from support import netns, probes, running, stream, wallclock

STEPS_S = (3600, -7200, 3600)


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_descriptors_run_out_while_capturing(pair: netns.Pair, rows: list[Row]) -> None:
    with (
        traffic.sender(pair) as sender,
        running.engine(pair.near, "any") as engine,
    ):
        sender.send(1000)
        pid = engine.process.pid
        limit = (_descriptors(pid), _descriptors(pid))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
        pair.near.ip("link", "add", "late0", "type", "veth")
        assert engine.process.wait(running.DEADLINE_S) == 1
        engine.wait_for("Too many open files")
        found = engine.whole()
    outcome = "ended, with a sentence and all packets"
    fault = "out of descriptors while capturing"
    rows.append(traffic.accounted(fault, outcome, sender.sent, found))


@pytest.mark.parametrize("limit", [6, 10, 14])
def test_descriptors_run_out_at_the_start(
    pair: netns.Pair, rows: list[Row], limit: int
) -> None:
    limited = ("prlimit", f"--nofile={limit}", *running.engine_command())
    sentence = _refusal(pair, limited)
    rows.append(Row(f"no more than {limit} descriptors at the start", sentence))


@pytest.mark.parametrize("missing", ["bpf", "net_admin"])
def test_the_kernel_refuses(pair: netns.Pair, rows: list[Row], missing: str) -> None:
    # CAP_SYS_ADMIN includes both.
    without = f"--bounding-set=-{missing},-sys_admin"
    sentence = _refusal(pair, ("setpriv", without, *running.engine_command()))
    rows.append(Row(f"refused: no CAP_{missing.upper()}", sentence))


def _refusal(pair: netns.Pair, command: tuple[str, ...]) -> str:
    """Return the one sentence with which an engine ends that cannot start."""
    plan = json.dumps({**running.PLAN, "device": "veth0"})
    with subprocess.Popen(
        pair.near.command(*command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stderr
        process.stdin.write(plan.encode() + b"\n")
        process.stdin.flush()  # stays open: an end of file would ask it to end
        lines = []
        for line in process.stderr:
            lines.append(line)
            if b'"ready"' in line:
                process.kill()
        assert process.wait(running.DEADLINE_S) == 1, lines
    events = [json.loads(line) for line in lines if line.startswith(b"{")]
    sentences = [str(e["message"]) for e in events if e["event"] == "error"]
    assert len(sentences) == 1, lines
    assert "\n" not in sentences[0]
    return sentences[0]


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=True
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_the_disk_is_full(pair: netns.Pair, rows: list[Row], tmp_path: Path) -> None:
    with _small_disk(tmp_path) as disk:
        file = disk / "file.pcapng"
        fd = os.open(file, os.O_WRONLY | os.O_CREAT)
        with (
            traffic.sender(pair) as sender,
            running.engine(pair.near, "veth0", stdout=fd, direction="out") as engine,
        ):
            os.close(fd)
            sender.send(5000, 1000)
            assert engine.process.wait(running.DEADLINE_S) == 1
            engine.wait_for("No space left on device; the file ends at this point.")
        found = stream.parse(stream.whole_blocks(file.read_bytes()))
    captured = traffic.captured(found)
    assert 0 < captured < sender.sent
    outcome = f"ended, with a sentence; the first {captured} are in the file"
    rows.append(Row("disk full after 1 MiB", outcome))


@pytest.mark.alone  # the machine has one clock
def test_the_clock_jumps(pair: netns.Pair, rows: list[Row]) -> None:
    probes.skip_unless(wallclock.may_be_set(), "right to set the clock", since=(2, 6))
    with (
        traffic.sender(pair) as sender,
        running.engine(pair.near, "veth0", direction="out") as engine,
        wallclock.restored(),
    ):
        for number, step_s in enumerate(STEPS_S):
            sender.send(100)
            time.clock_settime_ns(
                time.CLOCK_REALTIME, time.time_ns() + step_s * 1_000_000_000
            )
            running.until(
                lambda number=number: len(_clock_messages(engine)) > number,
                "the clock was set",
            )
        sender.mark(engine)
        found = engine.stop()
    times = [frame.time_ns for frame in found.frames]
    jumps = [round((b - a) / 1e9) for a, b in itertools.pairwise(times)]
    assert [jump for jump in jumps if abs(jump) > 60] == [*STEPS_S]
    outcome = "times follow it"
    fault = "clock set by +1 h, -2 h, +1 h"
    rows.append(traffic.accounted(fault, outcome, sender.sent, found))


def _clock_messages(engine: running.Engine) -> list[object]:
    messages = [event.get("message") for event in engine.events()]
    return [message for message in messages if message == "The clock was set."]
