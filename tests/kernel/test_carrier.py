"""The process that carries packets: what it may do, and how the two end together."""

import os
import re
import select
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import bpf, frames, netns, running, tc
from tccap.engine import carrierprocess
from tccap.host import sandbox

CHOICES: dict[str, dict[str, Any]] = {
    "off": {},
    "all": {"label": "full", "tls": "all", "keylog": True},
}


@pytest.fixture
def fresh() -> Iterator[netns.Pair]:
    with netns.pair() as made:
        yield made


def _status(pid: int) -> dict[str, str]:
    text = Path(f"/proc/{pid}/status").read_text()
    return dict(re.findall(r"^(\w+):\t(.*)$", text, re.MULTILINE))


def _numbers(mask: str) -> set[int]:
    return {n for n in range(64) if int(mask, 16) >> n & 1}


def _descriptors(pid: int) -> list[str]:
    links = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]  # noqa: PTH115
    return [re.sub(r"\d+|[\[\]]", "", link) for link in links]


@pytest.fixture(scope="module")
def hanging() -> Iterator[tuple[running.Engine, set[int]]]:
    """An engine that was asked to end, and whose carrier hangs; and its programs.

    Its end takes 15 s (`engine.control`), in which the other tests run.
    """
    with netns.pair() as pair, running.engine(pair.near, "veth0") as engine:
        programs = bpf.programs_of(engine.process.pid)
        os.kill(running.carrier(engine.process.pid), signal.SIGSTOP)
        engine.close_stdin()
        yield engine, programs


@pytest.mark.same_everywhere
@pytest.mark.usefixtures("hanging")
def test_the_reader_need_not_wait_for_the_engine(fresh: netns.Pair) -> None:
    with running.engine(fresh.near, "any") as engine:
        stream = Path(f"/proc/{running.carrier(engine.process.pid)}/fd/1")
        held = Path(f"/proc/{engine.process.pid}/fd").iterdir()
        assert not any(stream.samefile(path) for path in held)
        engine.stop()


@pytest.mark.parametrize(
    "chosen",
    [pytest.param("off", marks=pytest.mark.same_everywhere), "all"],
)
def test_it_has_no_rights(fresh: netns.Pair, chosen: str) -> None:
    had = _numbers(_status(os.getpid())["CapEff"])
    with running.engine(fresh.near, "any", **CHOICES[chosen]) as engine:
        carrier = running.carrier(engine.process.pid)
        status = _status(carrier)
        [uid] = set(status["Uid"].split())
        assert int(uid) in sandbox._UNUSED
        assert set(status["Gid"].split()) == {uid}
        assert status["Groups"].split() == []
        for kind in ("CapEff", "CapPrm"):
            assert _numbers(status[kind]) <= had & {*carrierprocess.KEPT}
        for kind in ("CapInh", "CapAmb"):
            assert not _numbers(status[kind])
        assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
        assert status["Threads"] == "1"
        engine.stop()


def test_it_has_maps_and_no_programs(fresh: netns.Pair) -> None:
    with running.engine(fresh.near, "any", **CHOICES["all"]) as engine:
        carrier = running.carrier(engine.process.pid)
        assert bpf.programs_of(engine.process.pid)
        assert bpf.programs_of(carrier) == set()
        links = _descriptors(carrier)
        assert links.count("socket:") == 1
        maps, others = "anon_inode:bpf-map", {"anon_inode:eventpoll", "pipe:"}
        assert {*links} == {maps, "socket:", *others}
        engine.stop()


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGSEGV, marks=pytest.mark.same_everywhere),
    ],
)
def test_if_it_is_killed_the_engine_ends(
    fresh: netns.Pair, number: signal.Signals
) -> None:
    with running.engine(fresh.near, "any", **CHOICES["all"]) as engine:
        programs = bpf.programs_of(engine.process.pid)
        os.kill(running.carrier(engine.process.pid), number)
        assert engine.process.wait(running.DEADLINE_S) == 1
        engine.wait_for(f"writes the packets was ended by {number.name}.")
        engine.join()
    _gone(programs)
    assert tc.left(fresh.near) == []


@pytest.mark.same_everywhere
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_it_ends_with_the_engine(fresh: netns.Pair, number: signal.Signals) -> None:
    with running.engine(fresh.near, "veth0", **CHOICES["all"]) as engine:
        programs = bpf.programs_of(engine.process.pid)
        carrier = os.pidfd_open(running.carrier(engine.process.pid))
        os.kill(engine.process.pid, number)
        assert select.select([carrier], [], [], running.DEADLINE_S)[0]
        os.close(carrier)
        engine.join()
    _gone(programs)


@pytest.mark.same_everywhere
def test_the_stream_ends_without_the_engine(fresh: netns.Pair) -> None:
    """It may wait for something else; packets and statistics do not."""
    with running.engine(fresh.near, "veth0", direction="out") as engine:
        mark = frames.marker()
        _say(fresh, mark)
        assert engine.output
        engine.output.wait_for(mark)
        os.kill(engine.process.pid, signal.SIGSTOP)
        engine.close_stdin()
        found = engine.whole()
        assert any(mark in frame.data for frame in found.frames)
        assert found.counts
        os.kill(engine.process.pid, signal.SIGCONT)
        assert engine.process.wait(running.DEADLINE_S) == 0
    assert tc.left(fresh.near) == []


@pytest.mark.same_everywhere
def test_sigterm_ends_both_with_all_packets(fresh: netns.Pair) -> None:
    with running.engine(fresh.near, "veth0", direction="out") as engine:
        mark = frames.marker()
        _say(fresh, mark)
        engine.process.terminate()
        assert engine.process.wait(running.DEADLINE_S) == 0
        assert any(mark in frame.data for frame in engine.whole().frames)
    assert tc.left(fresh.near) == []


@pytest.mark.same_everywhere
def test_an_engine_whose_carrier_hangs_ends_nevertheless(
    hanging: tuple[running.Engine, set[int]],
) -> None:
    """Nobody else may end it for a member of the group."""
    engine, programs = hanging
    assert engine.process.wait(running.DEADLINE_S) == -signal.SIGALRM
    engine.join()
    _gone(programs)


def _say(pair: netns.Pair, payload: bytes) -> None:
    with pair.near.entered(), socket.socket(type=socket.SOCK_DGRAM) as sender:
        sender.sendto(payload, (pair.far_address, netns.DISCARD_PORT))


def _gone(programs: set[int]) -> None:
    running.until(
        lambda: not any(map(bpf.program_exists, programs)), f"the end of {programs}"
    )
