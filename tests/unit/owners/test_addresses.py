"""Addresses of containers, which can have any number of them."""

import socket
from unittest.mock import MagicMock

import pytest

from tccap.owners import addresses, container_addresses
from tccap.owners.addresses import OF_CONTAINERS, AddressTable, Found, LocalNetwork
from tccap.owners.container_addresses import ContainerAddress, ContainerAddresses, Place
from tccap.owners.localroutes import Kind

INET = int(socket.AF_INET)


def entries(namespace_id: int, count: int) -> Found:
    numbers = (number.to_bytes(4, "big") for number in range(count))
    return {LocalNetwork(96, namespace_id, INET, n): Kind.UNICAST for n in numbers}


def test_of_a_container_with_very_many_none_are_local(
    capfd: pytest.CaptureFixture[str],
) -> None:
    few, many = entries(1, 10), entries(2, OF_CONTAINERS)
    table = AddressTable(MagicMock())
    for _ in range(2):
        assert table.admitted([(2, many), (1, few)]) == few
    assert capfd.readouterr().err.count(addresses._TOO_MANY_OF_ONE) == 1


def test_behind_a_bridge_a_container_with_very_many_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """An address that another one has, too, is nobody's all the same."""
    bad, good = (Place(n, 11 * n, 2, 0, 0, is_alone=True) for n in (1, 2))
    many = [_address(number) for number in range(container_addresses._ROOM)]
    shared, own = many[0], _address(1 << 30)
    found = [*((one, bad) for one in many), (shared, good), (own, good)]
    monkeypatch.setattr(container_addresses, "_each", lambda: iter(found))
    present = container_addresses._present()
    assert len(present) == len(many)
    assert ContainerAddresses(MagicMock())._admitted(present) == {own: good}
    assert capfd.readouterr().err.count(container_addresses._TOO_MANY_OF_ONE) == 1


def _address(number: int) -> ContainerAddress:
    return ContainerAddress(5, INET, number.to_bytes(4, "big"))
