"""The devices that can be captured, and their link types."""

from tccap.errors import TccapError
from tccap.host import netdev
from tccap.ipc.values import ANY
from tccap.stream import linktypes
from tccap.stream.linktypes import LinkType


def capturable() -> list[str]:
    """Return the names of the devices whose frames have a known link type."""
    types = {name: netdev.hardware_type(name) for name in netdev.device_names()}
    known = {
        n: linktypes.of_hardware_type(t) for n, t in types.items() if t is not None
    }
    return [name for name, link in known.items() if link]


def link_type(device: str) -> LinkType | None:
    """Return the device's link type; None for all devices together.

    TccapError if there is no such device, or its link type is not known.
    """
    if device == ANY:
        return None
    hardware_type = netdev.hardware_type(device)
    if hardware_type is None:
        raise TccapError(f"There is no network device {device!r}.")
    link = linktypes.of_hardware_type(hardware_type)
    if link is None:
        raise TccapError(f"Frames of {device!r} have a link type that is not known.")
    return link
