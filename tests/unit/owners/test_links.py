"""What belongs to a VRF."""

from tccap.owners import links
from tccap.owners.links import Link


def _link(ifindex: int, kind: str = "", master: int = 0) -> Link:
    return Link(ifindex, kind, 0, master, -1, 0)


def test_members_belong_to_a_vrf_and_others_do_not() -> None:
    bridge, vrf = _link(3, "bridge"), _link(4, "vrf")
    members = [_link(1, "veth", master=3), _link(2, "vlan", master=4)]
    assert links.in_vrfs([*members, bridge, vrf]) == {2, 4}


def test_ports_belong_to_the_vrf_of_their_bridge() -> None:
    port, bridge, vrf = _link(1, "veth", 2), _link(2, "bridge", 3), _link(3, "vrf")
    assert links.in_vrfs([port, bridge, vrf]) == {1, 2, 3}
