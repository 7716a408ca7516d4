import pytest

from tccap.stream import linktypes

# ARPHRD_* of include/uapi/linux/if_arp.h; LINKTYPE_* of tcpdump.org.
KNOWN = {1: 1, 772: 1, 512: 101, 768: 101, 776: 101, 778: 101, 65534: 101}


@pytest.mark.parametrize("hardware_type", KNOWN)
def test_known_kinds(hardware_type: int) -> None:
    link = linktypes.of_hardware_type(hardware_type)
    assert link is not None
    assert link.linktype == KNOWN[hardware_type]
    assert link.has_ethernet == (link.linktype == 1)


def test_dlt_of_raw_ip_is_not_its_linktype() -> None:
    assert (linktypes.RAW_IP.linktype, linktypes.RAW_IP.dlt) == (101, 12)


@pytest.mark.parametrize("hardware_type", [801, 803])
def test_802_11_is_air(hardware_type: int) -> None:
    air = linktypes.of_hardware_type(hardware_type)
    assert air
    assert air.is_air
    assert not linktypes.RAW_IP.is_air


def test_unknown_kinds_are_not_captured() -> None:
    assert linktypes.of_hardware_type(32) is None  # InfiniBand
    assert linktypes.of_hardware_type(-1) is None
