"""Which addresses of containers are behind veth ends and bridges."""

import contextlib
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from support import netns
from support.netns import Namespace
from tccap.owners import container_addresses
from truth.network import veth

pytestmark = pytest.mark.same_everywhere


@contextlib.contextmanager
def _boxes(space: Namespace, *addresses: str) -> Iterator[list[Namespace]]:
    """Have a bridge, br0, with a container for each address behind p0, p1, ..."""
    space.ip("link", "add", "br0", "type", "bridge")
    with contextlib.ExitStack() as stack:
        boxes = []
        for number, address in enumerate(addresses):
            box = stack.enter_context(netns.namespace())
            veth(space, f"p{number}", box)
            space.ip("link", "set", f"p{number}", "master", "br0")
            box.ip("addr", "add", f"{address}/24", "dev", "eth0")
            boxes.append(box)
        yield boxes


def _behind(space: Namespace) -> dict[str, set[str]]:
    """Return the IPv4 addresses by the name of the device."""
    found: dict[str, set[str]] = {}
    with space.entered():
        for one in container_addresses._present():
            if one.family == socket.AF_INET:
                name = socket.if_indextoname(one.ifindex)
                found.setdefault(name, set()).add(str(IPv4Address(one.address)))
    return found


def test_an_address_is_behind_its_port_and_its_bridge(space: Namespace) -> None:
    with _boxes(space, "10.9.9.2", "10.9.9.3"):
        assert _behind(space) == {
            "p0": {"10.9.9.2"},
            "p1": {"10.9.9.3"},
            "br0": {"10.9.9.2", "10.9.9.3"},
        }


def test_an_address_of_two_containers_is_behind_their_ports_alone(
    space: Namespace,
) -> None:
    with _boxes(space, "10.9.9.2", "10.9.9.2"):
        assert _behind(space) == {"p0": {"10.9.9.2"}, "p1": {"10.9.9.2"}}


def test_an_address_of_another_device_of_the_container_does_not_count(
    space: Namespace,
) -> None:
    with _boxes(space, "10.9.9.2") as (box,):
        box.ip("link", "add", "d0", "type", "veth", "peer", "name", "d1")
        box.ip("addr", "add", "10.9.8.2/24", "dev", "d0")
        assert _behind(space) == {"p0": {"10.9.9.2"}, "br0": {"10.9.9.2"}}


def _alone_behind_the_bridge(space: Namespace) -> set[str]:
    """Return the addresses behind br0 that nobody else can have."""
    with space.entered():
        bridge = socket.if_nametoindex("br0")
        return {
            socket.inet_ntop(one.family, one.address)
            for one, place in container_addresses._present().items()
            if one.ifindex == bridge and place.is_alone
        }


def test_an_address_on_the_network_of_a_bridge_of_containers_is_alone_there(
    space: Namespace,
) -> None:
    with _boxes(space, "10.9.9.2", "10.9.8.2"):
        space.ip("addr", "add", "10.9.9.1/24", "dev", "br0")
        assert _alone_behind_the_bridge(space) == {"10.9.9.2"}


def test_no_address_is_alone_beside_a_machine(space: Namespace) -> None:
    with _boxes(space, "10.9.9.2"):
        space.ip("addr", "add", "10.9.9.1/24", "dev", "br0")
        space.ip("tuntap", "add", "tap0", "mode", "tap")
        space.ip("link", "set", "tap0", "master", "br0")
        assert _alone_behind_the_bridge(space) == set()


def test_a_place_has_the_address_of_its_station(space: Namespace) -> None:
    with _boxes(space, "10.9.9.2") as (box,):
        box.ip("link", "set", "eth0", "address", "02:00:00:00:09:07")
        with space.entered():
            stations = {one.station for one in container_addresses._present().values()}
        assert stations == {int.from_bytes(b"\2\0\0\0\x09\7", "little")}


def test_a_host_without_containers_has_none(space: Namespace) -> None:
    assert _behind(space) == {}
