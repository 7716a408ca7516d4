"""Which kinds of device can be captured, and as what.

The kernel gives each device a hardware type (ARPHRD_*, include/uapi/linux/
if_arp.h); a capture file wants a LINKTYPE_* value, and a filter compiler the
DLT_* value of the same link layer.
"""

from typing import NamedTuple


class LinkType(NamedTuple):
    """How frames of a device look in the file."""

    linktype: int  # LINKTYPE_*, for the Interface Description Block
    dlt: int  # DLT_*, for libpcap and --extcap-dlts
    name: str
    display: str
    has_ethernet: bool  # frames begin with an Ethernet header


ETHERNET = LinkType(1, 1, "EN10MB", "Ethernet", has_ethernet=True)
RAW_IP = LinkType(101, 12, "RAW", "Raw IP", has_ethernet=False)
IEEE802_11 = LinkType(105, 105, "IEEE802_11", "802.11", has_ethernet=False)
RADIOTAP = LinkType(
    127, 127, "IEEE802_11_RADIO", "802.11 plus radiotap header", has_ethernet=False
)

_BY_HARDWARE_TYPE = {
    1: ETHERNET,  # ARPHRD_ETHER
    772: ETHERNET,  # ARPHRD_LOOPBACK
    512: RAW_IP,  # ARPHRD_PPP: the classifier sees frames without PPP header
    519: RAW_IP,  # ARPHRD_RAWIP
    768: RAW_IP,  # ARPHRD_TUNNEL
    769: RAW_IP,  # ARPHRD_TUNNEL6
    776: RAW_IP,  # ARPHRD_SIT
    778: RAW_IP,  # ARPHRD_IPGRE
    823: RAW_IP,  # ARPHRD_IP6GRE
    65534: RAW_IP,  # ARPHRD_NONE: tun, WireGuard
    801: IEEE802_11,  # ARPHRD_IEEE80211
    803: RADIOTAP,  # ARPHRD_IEEE80211_RADIOTAP
}


def of_hardware_type(hardware_type: int) -> LinkType | None:
    """Return how a device of this ARPHRD_* type is captured, None if it is not."""
    return _BY_HARDWARE_TYPE.get(hardware_type)
