"""The engine is killed at every step of its start: at each of its system calls.

strace(1) delivers the SIGKILL as the call begins. The calls are those that
change something outside the process: bpf(2), and sendto(2) for netlink. By default
the test tries a few of them; ``make faults`` tries all. Where a start takes long,
several machines can share the calls: one in EVERY, from the call FIRST on.
"""

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.table import Row
from support import netns, running, tc

EVERY = int(os.environ.get("TCCAP_KILL_EVERY", "32"))
FIRST = int(os.environ.get("TCCAP_KILL_FIRST", "1"))
# strace counts each thread separately and kills at the first n-th call of any, so the
# main thread's calls are counted alone, too.
CALLS = (("bpf", "-f"), ("bpf", "-q"), ("sendto", "-f"))
PLAN = json.dumps({**running.PLAN, "device": "veth0"}).encode() + b"\n"


@contextlib.contextmanager
def _traced(
    space: netns.Namespace, *strace: str, without_tcx: bool
) -> Iterator["subprocess.Popen[bytes]"]:
    command = running.engine_command(without_tcx=without_tcx)
    with subprocess.Popen(
        space.command("strace", "-qq", *strace, *command),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        process.stdin.write(PLAN)
        process.stdin.flush()
        try:
            yield process
        finally:
            process.kill()


def _calls(
    space: netns.Namespace, file: Path, call: str, threads: str, *, without_tcx: bool
) -> int:
    """Return how often a start makes the call, until it is ready."""
    traced = (threads, "-o", str(file), "-e", f"trace={call}", "-e", "signal=none")
    with _traced(space, *traced, without_tcx=without_tcx) as process:
        assert process.stderr
        for line in process.stderr:
            if b'"ready"' in line:
                break
        assert process.stdin
        process.stdin.close()
        process.stderr.read()
        assert process.wait(running.DEADLINE_S) == 0
    return len(re.findall(rf"^(?:\d+ +)?{call}\(", file.read_text(), re.MULTILINE))


@pytest.mark.timeout(0 if EVERY < 32 else 600)
@pytest.mark.parametrize(("call", "threads"), CALLS)
def test_a_kill_leaves_nothing(
    rows: list[Row], tmp_path: Path, call: str, threads: str, without_tcx: bool
) -> None:
    kind = "clsact" if without_tcx else "TCX"
    left: list[str] = []
    kills = 0
    with netns.pair() as pair:
        space = pair.near
        trace = tmp_path / "trace"
        count = _calls(space, trace, call, threads, without_tcx=without_tcx)
        assert count > 0
        for number in range(FIRST, count + 1, EVERY):
            inject = f"inject={call}:signal=KILL:when={number}"
            quiet = (threads, "-o", "/dev/null", "-e", f"trace={call}", "-e", inject)
            with _traced(space, *quiet, without_tcx=without_tcx) as process:
                assert process.stdin
                assert process.stderr
                _until_it_ends(process)
                kills += process.wait(running.DEADLINE_S) != 0
            _sweep(space)
            left += _left(space)
    assert kills > 0 or FIRST > 1  # a thread may make fewer calls
    assert left == []
    where = "of main" if threads == "-q" else "of all"
    share = f" from {FIRST}" if FIRST > 1 else ""
    fault = f"killed at {kills} of {count} {call}s {where}{share} ({kind})"
    rows.append(Row(fault, "the next start removes what stayed"))


def _until_it_ends(process: "subprocess.Popen[bytes]") -> None:
    assert process.stderr
    assert process.stdin
    for line in process.stderr:
        if b'"ready"' in line:  # the call comes at the engine's end
            process.stdin.close()


def _sweep(space: netns.Namespace) -> None:
    """Start an engine without a Plan: like every start it removes leftovers."""
    done = subprocess.run(
        space.command(*running.engine_command()),
        input=b"",
        check=True,
        capture_output=True,
    )
    assert done.stderr == b""


def _left(space: netns.Namespace) -> list[str]:
    """Return what is left, except a qdisc without filters (docs/limitations.md)."""
    shown = tc.left(space)
    empty = [s for s in shown if s.startswith("qdisc:") and "filter" not in s[6:]]
    if empty:
        space.run("tc", "qdisc", "del", "dev", "veth0", "clsact")
    return [s for s in shown if s not in empty]
