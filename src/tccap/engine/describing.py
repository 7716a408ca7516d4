"""What the stream and the programs learn of a device, in whatever namespace it is."""

from tccap.attach.attacher import DIRECTIONS
from tccap.engine.devices import Device
from tccap.ipc.plan import Plan
from tccap.stream import abi, linktypes
from tccap.stream.blocks import Interface
from tccap.stream.linktypes import LinkType

DESCRIPTION = "eBPF TC (pid-aware)"
LOOPBACK = 772  # ARPHRD_LOOPBACK


def interface(device: Device, link: LinkType, plan: Plan, place: str = "") -> Interface:
    """Return what the stream says of it; ``place`` is the container that it is in."""
    name = f"{place}/{device.name}" if place else device.name
    return Interface(
        name=name,
        description=f"{name}: {DESCRIPTION}",
        linktype=link.linktype,
        snaplen=plan.snaplen,
        mac=device.mac,
        ipv4=device.ipv4,
        ipv6=device.ipv6,
        speed_bps=device.speed_bps,
        filter=_joined(plan.filters),
    )


def directions(device: Device, plan: Plan) -> tuple[str, ...]:
    """Return in which directions classifiers are attached to it."""
    both = DIRECTIONS[plan.direction]
    # Every packet of lo goes out and comes in again. On its way out its sender is
    # known, so it is captured there. A VRF is the lo of its members.
    is_loopback = device.hardware_type == LOOPBACK or device.is_vrf
    return both[-1:] if is_loopback else both


def first_header(link: LinkType) -> int:
    """Return with which header its frames begin: abi.FIRST_*."""
    if link.is_air:
        return abi.FIRST_UNREAD
    return abi.FIRST_ETHERNET if link.has_ethernet else abi.FIRST_IP


def refusal(device: Device) -> str:
    """Return why a device whose link type is unknown cannot be captured."""
    return f"unknown link type {device.hardware_type}"


def is_chosen(link: LinkType, plan: Plan) -> bool:
    """Return whether the option for link types leaves it in."""
    wanted = {"ethernet": linktypes.ETHERNET, "raw-ip": linktypes.RAW_IP}
    return link is wanted.get(plan.link_types, link)


def unfiltered(link: LinkType, plan: Plan) -> str:
    """Return why filters do not apply to its frames; empty: they do."""
    if link.is_air and plan.is_any:
        return "its frames are of 802.11, capture it alone"
    return ""


def _joined(filters: tuple[str, ...]) -> str:
    if len(filters) == 1:
        return filters[0]
    return " and ".join(f"({text})" for text in filters)
