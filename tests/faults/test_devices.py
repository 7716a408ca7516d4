"""Devices that are removed, moved or renamed, or lose their link, while captured."""

import pytest

from faults import traffic
from faults.table import Row
from support import netns, running

FLAPS = 20


@pytest.mark.parametrize("way", ["removed", "moved to another namespace"])
@pytest.mark.parametrize(
    "device", [pytest.param("any", marks=pytest.mark.full_matrix), "veth0"]
)
@pytest.mark.parametrize("without_tcx", [False, True], ids=["tcx", "clsact"])
def test_a_device_that_is_removed_or_moved(
    pair: netns.Pair, rows: list[Row], way: str, device: str, without_tcx: bool
) -> None:
    with (
        netns.namespace() as other,
        traffic.sender(pair) as sender,
        running.engine(pair.near, device, without_tcx=without_tcx) as engine,
    ):
        sender.send(5000)
        if way == "removed":
            pair.near.ip("link", "del", "veth0")
        else:
            pair.near.ip("link", "set", "veth0", "netns", other.name)
            assert "tccap" not in other.run("tc", "qdisc", "show", "dev", "veth0")
        if device == "any":
            found = engine.stop()
            outcome = "the other devices go on"
        else:
            assert engine.process.wait(running.DEADLINE_S) == 1
            engine.wait_for("The network device 'veth0' is gone.")
            found = engine.whole()
            outcome = "ended, with a sentence"
    kind = "clsact" if without_tcx else "TCX"
    rows.append(
        traffic.accounted(f"{device} ({kind}): {way}", outcome, sender.sent, found)
    )


@pytest.mark.full_matrix
@pytest.mark.parametrize("device", ["any", "veth0"])
def test_a_device_that_is_renamed(
    pair: netns.Pair, rows: list[Row], device: str
) -> None:
    with (
        traffic.sender(pair) as sender,
        running.engine(pair.near, device) as engine,
    ):
        sender.send(1000)
        pair.near.ip("link", "set", "veth0", "down")
        pair.near.ip("link", "set", "veth0", "name", "renamed0")
        pair.near.ip("link", "set", "renamed0", "up")
        _neighbour(pair, "renamed0")
        sender.send(1000)
        sender.mark(engine)
        found = engine.stop()
    rows.append(traffic.accounted(f"{device}: renamed", "goes on", sender.sent, found))


@pytest.mark.full_matrix
def test_a_link_that_flaps(pair: netns.Pair, rows: list[Row]) -> None:
    with (
        traffic.sender(pair) as sender,
        running.engine(pair.near, "veth0") as engine,
    ):
        for _ in range(FLAPS):
            pair.near.ip("link", "set", "veth0", "down")
            pair.near.ip("link", "set", "veth0", "up")
            _neighbour(pair, "veth0")
            sender.send(100)
        sender.mark(engine)
        found = engine.stop()
    rows.append(
        traffic.accounted(
            f"link down and up {FLAPS} times", "goes on", sender.sent, found
        )
    )


def _neighbour(pair: netns.Pair, device: str) -> None:
    """Add the neighbour again: a link that goes down forgets it."""
    mac = ("lladdr", pair.far_mac, "dev", device)
    pair.near.ip("neigh", "replace", pair.far_address, *mac)
