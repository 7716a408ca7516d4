"""Which kinds of devices can be captured, and with which link type.

The kernel gives each device a hardware type (ARPHRD_*, include/uapi/linux/if_arp.h).
Capture files have a LINKTYPE_* value for each link layer, and libpcap a DLT_* value.
"""


class LinkType:
    """How the frames of a device begin; no NamedTuple, see front/listing.py.

    ``linktype`` is LINKTYPE_*, for the Interface Description Block; ``dlt`` is DLT_*,
    for libpcap and --extcap-dlts. With ``has_ethernet`` frames begin with an Ethernet
    header.
    """

    def __init__(
        self, linktype: int, dlt: int, name: str, display: str, *, has_ethernet: bool
    ) -> None:
        self.linktype = linktype
        self.dlt = dlt
        self.name = name
        self.display = display
        self.has_ethernet = has_ethernet

    @property
    def is_air(self) -> bool:
        """Return whether frames are those of 802.11."""
        return self in (IEEE802_11, RADIOTAP)


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
    """Return the link type for an ARPHRD_* value; None: it cannot be captured."""
    return _BY_HARDWARE_TYPE.get(hardware_type)
