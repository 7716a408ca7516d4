"""What belongs to a VRF, and what is below that."""

from tccap.owners import links
from tccap.owners.links import Link
from tccap.stream import abi


def _link(ifindex: int, kind: str = "", master: int = 0, lower: int = 0) -> Link:
    return Link(ifindex, kind, lower, master, -1, 0)


def test_members_belong_to_a_vrf_and_others_do_not() -> None:
    bridge, vrf = _link(3, "bridge"), _link(4, "vrf")
    members = [_link(1, "veth", master=3), _link(2, "vlan", master=4)]
    assert links.vrfs([*members, bridge, vrf]) == {2: 4, 4: 4}


def test_ports_belong_to_the_vrf_of_their_bridge() -> None:
    port, bridge, vrf = _link(1, "veth", 2), _link(2, "bridge", 3), _link(3, "vrf")
    other = _link(4, "vrf")
    assert links.vrfs([port, bridge, vrf, other]) == {1: 3, 2: 3, 3: 3, 4: 4}


def test_below_a_vlan_in_a_vrf_are_tagged_frames_of_its() -> None:
    there = [_link(1), _link(2, "vlan", master=3, lower=1), _link(3, "vrf"), _link(4)]
    assert links.below_vrfs(there).get(1) == abi.BELOW_BY_TAG
    assert 4 not in links.below_vrfs(there)


def test_below_another_device_in_a_vrf_all_frames_may_be_its() -> None:
    macvlan = _link(2, "macvlan", master=3, lower=1)
    there = [_link(1), macvlan, _link(3, "vrf"), _link(4, "vlan", lower=1)]
    assert links.below_vrfs(there).get(1) == abi.BELOW


def test_ports_of_a_bridge_below_a_vrf_are_below_it() -> None:
    port, bridge = _link(1, "veth", master=2), _link(2, "bridge")
    there = [port, bridge, _link(3, "vlan", master=4, lower=2), _link(4, "vrf")]
    found = links.below_vrfs(there)
    assert (found.get(1), found.get(2)) == (abi.BELOW, abi.BELOW_BY_TAG)
