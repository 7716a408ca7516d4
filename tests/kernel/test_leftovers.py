"""What a killed engine leaves in the kernel, and its removal by the next one."""

import subprocess
from collections.abc import Iterator

import pytest

from support import bpf, netns, probes, running, tc
from tccap.paths import SCRIPT


@pytest.fixture
def fresh() -> Iterator[netns.Pair]:
    with netns.pair() as made:
        yield made


def _kill_one(space: netns.Namespace, *, without_tcx: bool) -> set[int]:
    """Start an engine and kill it; return the programs that it had."""
    with running.engine(space, "any", without_tcx=without_tcx) as engine:
        programs = bpf.programs_of(engine.process.pid)
        assert len(programs) >= 2
        engine.process.kill()
        engine.process.wait(running.DEADLINE_S)
    return programs


def _gone(programs: set[int]) -> None:
    running.until(
        lambda: not any(map(bpf.program_exists, programs)), f"the end of {programs}"
    )


def _cleanup(space: netns.Namespace) -> None:
    done = subprocess.run(
        space.command(SCRIPT, "--extcap-cleanup-postkill"),
        check=True,
        capture_output=True,
    )
    assert done.stdout + done.stderr == b""


def test_tcx_leaves_nothing(fresh: netns.Pair) -> None:
    probes.skip_unless(bpf.has_tcx(), "TCX", since=(6, 6))
    programs = _kill_one(fresh.near, without_tcx=False)
    _gone(programs)
    assert tc.left(fresh.near) == []


def test_the_next_start_sweeps(fresh: netns.Pair) -> None:
    """On the same kernel, so that it attaches in the same way."""
    programs = _kill_one(fresh.near, without_tcx=True)
    assert tc.left(fresh.near)
    with running.engine(fresh.near, "lo", without_tcx=True) as engine:
        assert "tccap" not in tc.listing(fresh.near, "veth0")
        _gone(programs)
        engine.stop()
    assert tc.left(fresh.near) == []


@pytest.mark.same_everywhere
def test_a_sweep_spares_running_captures(fresh: netns.Pair) -> None:
    with running.engine(fresh.near, "veth0", without_tcx=True) as engine:
        before = tc.listing(fresh.near, "veth0")
        programs = _kill_one(fresh.near, without_tcx=True)
        assert tc.listing(fresh.near, "veth0") != before
        _cleanup(fresh.near)
        _gone(programs)
        assert tc.listing(fresh.near, "veth0").count("tccap_") == 2
        engine.stop()
    assert tc.left(fresh.near) == []


PRETEND = """
import os, re, socket, sys
os.setuid(65534)
life = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
life.bind("\\0" + re.search(r"tccap:[0-9a-f]{16}", sys.argv[1])[0])
print(flush=True)
sys.stdin.read()
"""


@pytest.mark.same_everywhere
def test_another_user_cannot_keep_a_dead_engines_filters(fresh: netns.Pair) -> None:
    programs = _kill_one(fresh.near, without_tcx=True)
    listing = tc.listing(fresh.near, "veth0")
    command = running.python(PRETEND)
    with subprocess.Popen(
        fresh.near.command(*command, listing),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"\n"
        _cleanup(fresh.near)
        other.communicate()
    _gone(programs)
    assert tc.left(fresh.near) == []


@pytest.mark.same_everywhere
def test_cleanup_postkill_spares_other_programs(fresh: netns.Pair) -> None:
    near = fresh.near
    near.run("tc", "qdisc", "add", "dev", "veth0", "clsact")
    tc.add_filter(near, "veth0", "ingress", 3)
    near.ip("link", "add", "one", "type", "veth", "peer", "name", "onep")
    before = tc.listing(near, "veth0")
    programs = _kill_one(near, without_tcx=True) | _kill_one(near, without_tcx=True)
    assert "tccap" in tc.listing(near, "one")
    tc.add_filter(near, "lo", "egress", 4)  # on a qdisc that tccap made
    _cleanup(near)
    assert tc.listing(near, "veth0") == before
    assert "clsact" not in tc.listing(near, "one")
    assert "pref 4 bpf chain 0 handle 0x1" in tc.listing(near, "lo")
    assert "tccap" not in tc.listing(near, "lo")
    _gone(programs)
