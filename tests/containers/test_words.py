"""Filters by container, pod, namespace and unit, beside a capture of everything.

The containers are real. For Kubernetes, cgroups and files that the test makes stand for
the cluster, and a cgroup alone for a unit of systemd.
"""

import contextlib
import fnmatch
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from containers import host, kinds, rows
from containers.host import Host
from containers.kinds import Kind, started
from containers.rows import LO, NEAR_ASKS, PUBLISHED, Row, Rows
from containers.runtimes import Container, Ctr, Runtime
from support import commandline, place
from truth import packets
from truth.packets import Packet

UID = str(uuid.uuid4())
POD, SHOP, UNIT, NGINX = "web-0", "shop", "tccap-web.service", "nginx"
IN_CGROUP = 'echo $$ >"$0" && exec "$@"'


class Choice(NamedTuple):
    """What a capture is asked for, and the terms of labels that say the same."""

    arguments: tuple[str, ...]
    key: str
    pattern: str
    is_exclusion: bool = False

    def takes(self, packet: Packet) -> bool:
        """Return whether a process at either end is asked for."""
        ends = (packet.label.get(f"{end}{self.key}", "") for end in ("", "peer_"))
        fits = any(fnmatch.fnmatchcase(end, self.pattern) for end in ends)
        return fits != self.is_exclusion


BY_NAME = (
    Choice(("container web-1",), "container_name", "web-1"),
    Choice(("--container", "web-*"), "container_name", "web-*"),
    Choice(("not container web-1",), "container_name", "web-1", is_exclusion=True),
    Choice(("unit tccap-*",), "unit", UNIT),
)
IN_PODS = (
    Choice((f"pod {POD}",), "pod", POD),
    Choice(("--namespace", "sh*"), "namespace", SHOP),
    Choice((f"container {NGINX}",), "container_name", NGINX),
    Choice(("--unit", "tccap-web"), "unit", UNIT),
)
CHOICES = {"docker": BY_NAME, "podman": BY_NAME, "containerd": IN_PODS}


@pytest.mark.parametrize("name", CHOICES)
def test_words_choose_what_a_capture_of_everything_shows(
    name: str, tmp_path: Path
) -> None:
    kind, choices = kinds.found(name), CHOICES[name]
    files = [tmp_path / f"{number}.pcapng" for number in range(len(choices) + 1)]
    asked = ((), *(choice.arguments for choice in choices))
    with host.host(rows.PROGRAMS) as made, kind.start(made) as runtime:
        every = list(_rows(made, runtime, kind, _boxes(made, runtime)))
        with (
            place.cgroup(f"{made.cgroup}/{UNIT}") as unit,
            contextlib.ExitStack() as stack,
        ):
            every.append(_at_localhost(made, unit))
            captures = [
                stack.enter_context(_capturing(made, file, arguments))
                for file, arguments in zip(files, asked, strict=True)
            ]
            assert list(rows.ask_all(made, every)) == []
            for capture in captures:
                capture.interrupt()
            assert not any(capture.end()[0].dropped for capture in captures)
    everything, *found = (_connections(file) for file in files)
    for choice, chosen in zip(choices, found, strict=True):
        due = [packet for packet in everything if choice.takes(packet)]
        assert len(everything) > len(due) > 0, choice
        assert _shown(chosen) == _shown(due), choice


def _capturing(
    made: Host, file: Path, arguments: tuple[str, ...]
) -> contextlib.AbstractContextManager[commandline.Capture]:
    usual = ("-i", "any", "-w", str(file), "--label", "short")
    return commandline.capturing(made, *usual, *arguments)


def _boxes(made: Host, runtime: Runtime) -> tuple[Container, Container]:
    """Start two containers; with containerd the first one is in a pod."""
    if isinstance(runtime, Ctr):
        runtime.below = f"/kubepods/burstable/pod{UID}"
    one = started(made, runtime, "web-1", rows.SERVES, rows.PUBLISHED)
    if isinstance(runtime, Ctr):
        runtime.below = ""
        logs = Path(f"/proc/{made.first}/root/var/log")
        (logs / "pods" / f"{SHOP}_{POD}_{UID}").mkdir(parents=True)
        (logs / "containers").mkdir()
        (logs / "containers" / f"{POD}_{SHOP}_{NGINX}-{one.id}.log").touch()
    return one, started(made, runtime, "web-2", rows.OTHER_SERVES, rows.OF_OTHER)


def _rows(
    made: Host, runtime: Runtime, kind: Kind, boxes: tuple[Container, Container]
) -> Iterator[Row]:
    """Yield those of TCP: where there are no kprobes, each capture polls by itself."""
    for row in Rows(made, runtime, boxes, kind.passes_on).bridged(proxied=kind.proxied):
        if row.protocol == "tcp":
            yield row


def _at_localhost(made: Host, unit: Path) -> Row:
    """Return what a process in a unit asks of the first container."""
    ask = (str(made.image / "bin" / NEAR_ASKS), "tcp", LO, str(PUBLISHED), "of a unit")
    into = ("sh", "-c", IN_CGROUP, str(unit / "cgroup.procs"))
    return Row("of a unit", "tcp", made.command(*into, *ask), {})


def _connections(file: Path) -> list[Packet]:
    """Return the packets of TCP: others come by themselves, also between two starts."""
    every = packets.read(file.read_bytes())
    return [each for each in every if each.ends and each.ends.protocol == "tcp"]


def _shown(some: Iterable[Packet]) -> Counter[tuple[str, int, bytes]]:
    """Return what is the same in all captures."""
    return Counter((each.device, each.direction, each.data) for each in some)
