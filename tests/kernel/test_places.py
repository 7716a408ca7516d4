"""Containers, pods and units of processes, from cgroups that the tests make.

A kubernetes layout of cgroups and files stands for a cluster.
"""

import contextlib
import fnmatch
import functools
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support import netns, place, running
from truth import packets
from truth.packets import Packet

UID = str(uuid.uuid4())
# Names of this run alone, by which filters choose as well.
WEB_0, WEB_1, WEB_2, WEBS = (place.own(f"web-{end}") for end in "012*")
SHOP, UNIT = place.own("shop"), place.own("web.service")


def random_id() -> str:
    return os.urandom(32).hex()


@pytest.fixture
def places() -> Iterator[dict[str, Path]]:
    """Cgroups: a container of Docker, one of a pod, a unit, and none in particular."""
    pod, log = random_id(), place.LOGS / f"{SHOP}_{WEB_0}_{UID}" / "nginx" / "0.log"
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        enter(place.folder_with(log, ""))
        yield {
            WEB_1: enter(place.docker(random_id(), WEB_1)),
            WEB_0: enter(place.cgroup(f"/kubepods/pod{UID}/{pod}")),
            UNIT: enter(place.cgroup(f"/tccap-test.slice/{UNIT}")),
            "nothing": enter(place.cgroup(f"/{place.own('nothing')}")),
        }


def parent(mark: bytes) -> None:
    """Exchange something, and have a child do so at once."""
    place.exchange(mark)
    child = os.fork()
    if child == 0:
        place.exchange(b"child of " + mark)
        os._exit(0)
    os.waitpid(child, 0)


def knock(folder: Path, name: str, engines: list[running.Engine]) -> None:
    """Exchange something in a container until all captures know its name.

    Each capture learns it by itself, and one that takes everything shows the packets
    before that, too.
    """
    knocking = place.start(folder, place.exchange_for_ever)
    for engine in engines:
        assert engine.output
        engine.output.wait_for(f"container_name={name}".encode())
    os.kill(knocking, signal.SIGTERM)
    assert os.waitpid(knocking, 0)[1] == 0


def test_all_packets_of_processes_have_their_places(
    space: netns.Namespace, places: dict[str, Path]
) -> None:
    """Also the first ones, and those of a child that lives for milliseconds."""
    with running.engine(space, "lo", label="short") as engine, space.entered():
        for name, folder in places.items():
            place.run(folder, functools.partial(parent, name.encode()))
        assert engine.output
        engine.output.wait_for(b"child of nothing")
        engine.end()
        found = list(packets.read(engine.output.rest()))
    container = places[WEB_1].name[:12]
    expected = {
        WEB_1: {"container": container, "container_name": WEB_1},
        WEB_0: {
            "container": places[WEB_0].name[:12],
            "pod": WEB_0,
            "namespace": SHOP,
        },
        UNIT: {"unit": UNIT},
        "nothing": {},
    }
    for name, terms in expected.items():
        marked = [packet for packet in found if packet.data.endswith(name.encode())]
        assert len(marked) == 4, name
        both_ends = {**terms, **{f"peer_{key}": terms[key] for key in terms}}
        assert [place_of(packet) for packet in marked] == [both_ends] * 4


@contextlib.contextmanager
def stopped(engine: running.Engine) -> Iterator[None]:
    """Have the engine do nothing; its carrier goes on."""
    os.kill(engine.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(engine.process.pid, signal.SIGCONT)


def test_the_first_packets_have_a_containers_id_however_late_the_engine_is(
    space: netns.Namespace, places: dict[str, Path]
) -> None:
    """And what is below a container that is known has its name, too."""
    known, new, other = places[WEB_1].name, random_id(), random_id()
    web = {"container": known[:12], "container_name": WEB_1}
    expected = {
        f"/docker/{new}": {"container": new[:12]},
        f"/docker/{new}/in it": {"container": new[:12]},
        f"/docker/{known}/in web-1": web,
        f"/tccap-test/libpod-{other}.scope": {"container": other[:12]},
        f"/tccap-test/backup-{other}.scope": {},
        f"/tccap-test/{other}0": {},
    }
    with running.engine(space, "lo", label="short") as engine, space.entered():
        assert engine.output
        with stopped(engine), contextlib.ExitStack() as stack:
            for path in expected:
                folder = stack.enter_context(place.cgroup(path))
                place.run(folder, functools.partial(place.exchange, path.encode()))
                place.run(folder, functools.partial(place.exchange, b"behind it"))
                engine.output.wait_for(path.encode())
            engine.output.wait_for(b"behind it")
        engine.end()
        found = list(packets.read(engine.output.rest()))
    for path, terms in expected.items():
        marked = [packet for packet in found if packet.data.endswith(path.encode())]
        both_ends = {**terms, **{f"peer_{key}": terms[key] for key in terms}}
        assert [place_of(packet) for packet in marked] == [both_ends] * 2, path


def place_of(packet: Packet) -> dict[str, str]:
    keys = ("container", "container_name", "pod", "namespace", "unit")
    wanted = {*keys, *(f"peer_{key}" for key in keys)}
    return {key: value for key, value in packet.label.items() if key in wanted}


def ports_of(packet: Packet) -> set[int]:
    return {packet.ends.sender, packet.ends.receiver} if packet.ends else set()


def without_knocking(engine: running.Engine) -> list[Packet]:
    """Return what an engine that has ended captured of connections but those."""
    assert engine.output
    found = list(packets.read(engine.output.rest()))
    knocking = [ports_of(packet) for packet in found if place.KNOCK in packet.data]
    others = set[int]().union(*knocking)
    return [packet for packet in found if not ports_of(packet) & others]


class Choice(NamedTuple):
    """What one capture is asked for, and which keys and patterns choose the same."""

    plan: dict[str, Any]
    terms: tuple[tuple[str, str], ...]
    is_exclusion: bool = False

    def takes(self, packet: Packet) -> bool:
        """Return whether the label is that of a process that is asked for."""
        fits = any(
            fnmatch.fnmatchcase(packet.label.get(key, ""), pattern)
            for key, pattern in self.terms
        )
        return fits != self.is_exclusion


CHOICES = (
    Choice({"filters": [f"container {WEBS}"]}, (("container_name", WEBS),)),
    Choice({"filters": [f"pod {WEB_0} and tcp"]}, (("pod", WEB_0),)),
    Choice({"filters": [f"namespace {SHOP[:-2]}*"]}, (("namespace", SHOP),)),
    Choice({"filters": [f"unit {UNIT.removesuffix('.service')}"]}, (("unit", UNIT),)),
    Choice(
        {"filters": [f"tcp and not (pod {WEBS} or unit {UNIT})"]},
        (("pod", WEBS), ("unit", UNIT)),
        is_exclusion=True,
    ),
    Choice({"containers": [WEBS]}, (("container_name", WEBS),)),
    Choice({"pods": [WEBS], "namespaces": [SHOP]}, (("pod", WEBS),)),
    Choice({"units": [UNIT.removesuffix(".service")]}, (("unit", UNIT),)),
)


@pytest.mark.full_matrix
def test_filters_choose_what_an_unfiltered_capture_shows(
    space: netns.Namespace, places: dict[str, Path]
) -> None:
    """By each word and each option; a container that starts later, too."""
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        start = functools.partial(running.engine, space, "lo", label="short")
        everything = enter(start())
        engines = [enter(start(**choice.plan)) for choice in CHOICES]
        enter(space.entered())
        later = enter(place.docker(random_id(), WEB_2))
        knock(later, WEB_2, [everything, engines[0], engines[4], engines[5]])
        for name, folder in {**places, WEB_2: later}.items():
            place.run(folder, functools.partial(parent, name.encode()))
        for engine in (everything, *engines):
            engine.end()
    found = without_knocking(everything)
    for choice, engine in zip(CHOICES, engines, strict=True):
        chosen = [packet for packet in found if choice.takes(packet)]
        assert len(found) > len(chosen) > 0
        assert shown(without_knocking(engine)) == shown(chosen), choice


def shown(some: list[Packet]) -> list[tuple[bytes, dict[str, str]]]:
    """Return what is the same in all captures."""
    return [(packet.data, packet.label) for packet in some]
