"""Which rules of address translation are found, in this namespace and in others."""

import select
import shutil
import socket
import subprocess

import pytest

from support import netns, running
from tccap.engine import devices
from tccap.engine.surroundings import Survey
from tccap.host import netlink
from tccap.owners import translation
from tccap.owners.translation import NONE, Translation
from tccap.stream import abi

CHAIN = (
    "nft add table {0} t; nft add chain {0} t {1} '{{type {2} hook {1} priority 0;}}'"
)
RULE = "; nft add rule {0} t {1} tcp dport 80 {2}"
DESTINATIONS = Translation(of_destinations=True, of_sources=False)
SOURCES = Translation(of_destinations=False, of_sources=True)


def _nft(family: str, hook: str, rule: str, kind: str = "nat") -> str:
    chain = CHAIN.format(family, hook, kind)
    return chain + (RULE.format(family, hook, rule) if rule else "")


def _legacy(program: str, chain: str) -> str:
    return f"{program}-legacy -t nat -A {chain} -j ACCEPT"


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        ("true", NONE),
        (_nft("ip", "prerouting", ""), NONE),
        (_nft("ip", "prerouting", "accept", "filter"), NONE),
        (_nft("ip", "output", "accept"), NONE),
        (_nft("ip", "prerouting", "dnat to 10.0.0.1"), DESTINATIONS),
        (_nft("ip6", "prerouting", "dnat to fd00::1"), DESTINATIONS),
        (_nft("inet", "postrouting", "masquerade"), SOURCES),
        (_legacy("iptables", "PREROUTING"), DESTINATIONS),
        (_legacy("iptables", "POSTROUTING"), SOURCES),
        (_legacy("iptables", "OUTPUT"), NONE),
        (_legacy("ip6tables", "PREROUTING"), DESTINATIONS),
    ],
)
def test_rules_that_translate(
    space: netns.Namespace, rules: str, found: Translation
) -> None:
    if not shutil.which(rules.split(maxsplit=1)[0]):
        pytest.skip(f"needs {rules.split(maxsplit=1)[0]}")
    space.run("sh", "-ec", rules)
    with space.entered():
        assert translation.here() == found
    assert translation.here() == translation.there("/proc/self/ns/net")
    assert translation.there(f"/run/netns/{space.name}") == found


IPVS = "modprobe ip_vs; test -e /proc/net/ip_vs"
SERVICE = "ipvsadm -A -t 10.0.0.1:80 -s rr"


def test_services_of_ipvs(space: netns.Namespace) -> None:
    try:
        space.run("sh", "-c", IPVS)
        space.run(*SERVICE.split())
    except subprocess.CalledProcessError:
        pytest.skip("needs IPVS, and ipvsadm")
    with space.entered():
        assert translation.here() == NONE._replace(to_servers=True)


@pytest.mark.parametrize("family", ["netdev", "inet"])
def test_chains_of_a_device(space: netns.Namespace, family: str) -> None:
    space.ip("link", "add", "d0", "type", "veth", "peer", "name", "d1")
    hook = "type filter hook ingress device d0 priority 0"
    rule = "udp dport 80 udp dport set 81"
    space.run("nft", f"table {family} t {{ chain c {{ {hook}; {rule}\n }}\n }}")
    with space.entered():
        number = socket.if_nametoindex("d0")
        assert translation.here() == NONE._replace(devices=frozenset({number}))
        found = Survey().read()
    changed = {n for n, one in found.items() if one.translation}
    assert changed == {number}
    assert found[number].translation == abi.CHANGED_AT_DEVICE


def test_the_watch_says_where_rules_have_changed() -> None:
    with netns.pair() as joined, joined.near.entered(), translation.Watch() as watch:
        assert watch.sources() == set()
        rules = _nft("ip", "prerouting", "dnat to 10.0.0.1")
        numbers = {each.far_namespace for each in Survey().read().values()} - {-1}
        for space, sources in (joined.near, {netlink.OWN}), (joined.far, numbers):
            space.run("sh", "-ec", rules)
            assert select.select([watch], [], [], 60)[0]
            assert watch.sources() == sources


def test_what_is_around_a_container_s_device() -> None:
    with netns.pair() as joined, joined.near.entered():
        joined.far.run("sh", "-ec", _nft("ip", "prerouting", "dnat to 10.0.0.1"))
        inode = int(joined.far.run("stat", "-Lc", "%i", "/proc/self/ns/net"))
        found = {each.far_netns: each for each in Survey().read().values()}
        assert found.keys() == {0, inode}
        veth = found[inode]
        assert (veth.translation, veth.far_translation) == (
            0,
            abi.TRANSLATED_DESTINATIONS,
        )
        assert veth.from_here
        assert not veth.is_lower
        assert not veth.far_in_vrf


def test_a_device_that_moves_into_a_container_is_read_again(
    space: netns.Namespace,
) -> None:
    with netns.namespace() as box, space.entered():
        space.ip("link", "add", "near", "type", "veth", "peer", "name", "far")
        survey = Survey()
        assert {each.far_namespace for each in survey.read().values()} == {-1}
        space.ip("link", "set", "far", "netns", box.name)
        (veth,) = (e for e in survey.read().values() if e.far_namespace >= 0)
        inode = int(box.run("stat", "-Lc", "%i", "/proc/self/ns/net"))
        assert veth.far_netns == inode


def test_ports_of_a_bridge_are_lower_devices(space: netns.Namespace) -> None:
    space.ip("link", "add", "port", "type", "veth", "peer", "name", "other")
    space.ip("link", "add", "br0", "type", "bridge")
    space.ip("link", "set", "port", "master", "br0")
    with space.entered():
        names, around = devices.names(), Survey().read()
    assert {names[i] for i, each in around.items() if each.is_lower} == {"port"}
    from_here = {names[i] for i, each in around.items() if each.from_here}
    assert from_here == {"port", "other", "br0"}


def test_what_comes_by_a_macvlan_device_may_come_from_this_host(
    space: netns.Namespace,
) -> None:
    space.ip("tuntap", "add", "tap0", "mode", "tap")
    space.ip("link", "add", "link", "tap0", "name", "mac0", "type", "macvlan")
    with space.entered():
        names, around = devices.names(), Survey().read()
    assert {names[i] for i, each in around.items() if each.from_here} == {"mac0"}
    below = {names[i] for i, each in around.items() if each.others_from_here}
    assert below == {"tap0"}


def test_a_capture_looks_again_when_addresses_change(space: netns.Namespace) -> None:
    """Nothing reports rules of iptables' own tables."""
    if not shutil.which("iptables-legacy"):
        pytest.skip("needs iptables-legacy")
    with running.engine(space, "lo", label="short") as engine:
        space.run("sh", "-ec", _legacy("iptables", "PREROUTING"))
        assert not any("NAT" in str(each.get("message")) for each in engine.events())
        space.ip("addr", "add", "10.11.12.13/32", "dev", "lo")
        engine.wait_for("Addresses are translated (NAT) in this network namespace")
        engine.stop()
