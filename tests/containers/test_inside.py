"""Captures from inside of real containers that come, change and go meanwhile."""

import re
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from containers import host, judged, kinds, rows
from containers.host import Host
from containers.kinds import serving, started
from containers.rows import ASKS, INSIDE, LO, OTHER_SERVES, SERVES, Row, Rows
from containers.runtimes import CommandLine, Container, Runtime
from support import bpf, commandline, running
from tccap.host import netns
from truth import packets
from truth.packets import Packet

pytestmark = pytest.mark.skipif(not bpf.has_tcx(), reason="TCX came with Linux 6.6")
# Rootless ones have no cgroups, and so no names, on hosts with version 1.
NAMES = ("docker", "podman", "containerd")
SHARED = 8150  # the port of a container that shares a network
ARGUMENTS = ("--inside", "--container", "web-*", "--label", "short")


class Trial:
    """A capture of a runtime's containers, which change meanwhile."""

    def __init__(self, made: Host, runtime: Runtime, file: Path) -> None:
        self._made = made
        self._runtime = runtime
        self._file = file
        self.rows: list[Row] = []
        self.where: dict[str, Container] = {}  # whose lo a row is about, by its title

    def knock(self, box: Container, mark: str, file: Path | None = None) -> None:
        """Ask in a container until its own lo is captured."""
        to = file or self._file
        ask = (f"/bin/{ASKS}", "udp", LO, str(INSIDE), mark)
        command = self._runtime.inside(box, *ask)

        def is_captured() -> bool:
            subprocess.run(command, check=True, capture_output=True)
            return mark.encode() in to.read_bytes()

        running.until(is_captured, mark)

    def ask(
        self,
        title: str,
        port: int,
        asks: Container,
        serves: Container,
        *,
        of: Container,
    ) -> None:
        """Ask at lo in one container, what another one serves."""
        made = Rows(self._made, self._runtime, (asks, serves), rows.PassesOn())
        for row in made.by_lo(asks, serves, port, title):
            subprocess.run(row.command, check=True, capture_output=True)
            self.rows.append(row)
        self.where[title] = of


@pytest.mark.parametrize("name", NAMES)
def test_what_passes_lo_is_right_and_there_once(name: str, tmp_path: Path) -> None:
    kind, file = kinds.found(name), tmp_path / "all.pcapng"
    with host.host(rows.PROGRAMS) as made, kind.start(made) as runtime:
        one = started(made, runtime, "web-1", SERVES, rows.PUBLISHED)
        trial = Trial(made, runtime, file)
        with commandline.capturing(
            made, "-i", "any", "-w", str(file), *ARGUMENTS
        ) as capture:
            _change(trial, made, runtime, one)
            # A namespace that somebody held would keep its veth pair.
            running.until(lambda: len(_veths(made)) == 1, "the end of their networks")
            capture.interrupt()
            counts, said = capture.end()
        assert _programs(one) == []
        _kill(trial, made, one, file.with_name("killed.pcapng"))
        runtime.remove(one)
        running.until(lambda: not _veths(made), "the end of its network")
    assert (counts.dropped, said) == (0, "")
    found = list(packets.read(file.read_bytes()))
    table = judged.Table(trial.rows, found)
    print("", name, *table.lines(), sep="\n")  # noqa: T201
    assert not table.wrong, "\n".join(table.wrong)
    assert table.unlabelled() == []
    for row in trial.rows:
        _check_devices(row, found, trial.where[row.title])


def _kill(trial: Trial, made: Host, one: Container, file: Path) -> None:
    """Check that a capture that is killed leaves no program in a container."""
    with commandline.capturing(
        made, "-i", "any", "-w", str(file), *ARGUMENTS
    ) as capture:
        trial.knock(one, "knock before the kill", file)
        assert _programs(one)
        capture.interrupt(signal.SIGKILL)
    running.until(lambda: not _programs(one), "the end of its programs")


def _change(trial: Trial, made: Host, runtime: Runtime, one: Container) -> None:
    """Have containers come, share a network, begin anew, and go."""
    trial.ask("one that was there before", INSIDE + 8, one, one, of=one)
    two = started(made, runtime, "web-2", OTHER_SERVES, rows.OF_OTHER)
    trial.knock(two, "knock at the second")
    trial.ask("one that has come", INSIDE + 9, two, two, of=two)
    command = (f"/bin/{OTHER_SERVES}", str(SHARED))
    guest = runtime.beside(one, "web-3", command)
    guest = guest._replace(pid=serving(made, command, SHARED))
    trial.ask("one that shares a network", INSIDE + 10, guest, one, of=one)
    trial.ask("its host, asking", SHARED, one, guest, of=one)
    runtime.remove(guest)
    if isinstance(runtime, CommandLine):
        runtime.restart(two)
        inner = range(INSIDE, INSIDE + rows.COUNT)
        server = (f"/bin/{OTHER_SERVES}", *map(str, inner))
        two = two._replace(pid=serving(made, server, inner[-1]))
        trial.knock(two, "knock at the restarted")
        trial.ask("one that has begun anew", INSIDE + 11, two, two, of=two)
        runtime.connect(one, "more")
        trial.ask("one with two networks", INSIDE + 7, one, one, of=one)
        runtime.disconnect(one, "more")
        trial.ask("one that has lost one", INSIDE + 6, one, one, of=one)
    runtime.remove(two)


def _check_devices(row: Row, found: Iterable[Packet], of: Container) -> None:
    """Check that a row's packets are on the container's lo, and nowhere else."""
    those = [packet for packet in found if judged.ends_of(row, packet)]
    # Where the name was not known yet, the interface has the id.
    names = {f"{of.name}/lo", f"{of.id[:12]}/lo"}
    assert {packet.device for packet in those} <= names
    assert len({packet.data for packet in those}) == len(those) > 0


def _veths(made: Host) -> list[str]:
    shown = host.output(made.command("ip", "-brief", "link", "show", "type", "veth"))
    return [line for line in shown.splitlines() if not re.match(host.OUTSIDE, line)]


def _programs(box: Container) -> list[int]:
    """Return the programs on a container's lo."""
    with netns.entered(f"/proc/{box.pid}/ns/net"):
        return [each for way in bpf.TCX for each in bpf.tcx_programs(1, way)]
