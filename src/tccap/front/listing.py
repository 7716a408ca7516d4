"""The calls that Wireshark makes for every device at its start.

With hundreds of devices these calls are most of the time that Wireshark takes to start,
and Python's start most of that. So this module and what it imports do without typing,
re, enum, argparse and socket, which take longer to import than all the rest.
"""

import os
import sys

from tccap import __version__
from tccap.errors import TccapError
from tccap.front import answer
from tccap.host import netdev
from tccap.ipc.names import ANY
from tccap.paths import HELP, README
from tccap.stream import linktypes
from tccap.stream.linktypes import ETHERNET, LinkType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

DISPLAY = "eBPF TC (pid-aware)"
PREFIX = "tccap-"
# The answer to --extcap-config, from extcap.py: it is the same for every device.
CONFIG = os.path.join(os.path.dirname(__file__), "config.txt")


def main(argv: list[str]) -> int | None:
    """Serve a call and return the exit status; None if it is none of these."""
    try:
        text = _answer(argv)
    except TccapError as error:
        print(error, file=sys.stderr)  # noqa: T201  # where Wireshark reads it
        return 1
    if text is None:
        return None
    return 0 if answer.write(text) else 1


def _answer(argv: list[str]) -> str | None:
    """Answer a call in the form in which Wireshark makes it; None for any other."""
    match argv:
        case ["--extcap-interfaces"]:
            return interfaces(capturable_devices())
        case ["--extcap-interfaces", version] if version.startswith(
            "--extcap-version="
        ):
            return interfaces(capturable_devices())
        case ["--extcap-config", "--extcap-interface", interface]:
            return config(interface)
        case ["--extcap-dlts", "--extcap-interface", interface]:
            return dlts(link_type(device_of(interface)))
    return None


def interfaces(devices: "Iterable[str]") -> str:
    """Answer --extcap-interfaces: ``tccap-any``, then one line a device."""
    page = HELP if os.path.exists(HELP) else README
    head = f"{{version={__version__}}}{{help=file://{page}}}{{display={DISPLAY}}}"
    names = [ANY, *(n for n in devices if is_listable(n) and _is_utf8(n))]
    lines = [f"interface {{value={PREFIX}{n}}}{{display={DISPLAY}}}\n" for n in names]
    return f"extcap {head}\n{''.join(lines)}"


def dlts(link: LinkType | None) -> str:
    """Answer --extcap-dlts for a link type, or for ``tccap-any`` (None).

    ``tccap-any`` mixes link types; most packets are Ethernet.
    """
    link = link or ETHERNET
    return f"dlt {{number={link.dlt}}}{{name={link.name}}}{{display={link.display}}}\n"


def config(interface: str | None) -> str:
    """Answer --extcap-config; TccapError if the interface is not one of ours."""
    device_of(interface)
    with open(CONFIG, encoding="utf-8") as file:
        return file.read()


def device_of(interface: str | None) -> str:
    """Return the device of one of our interfaces: ``eth0`` of ``tccap-eth0``.

    TccapError if the interface is not one of ours.
    """
    if not interface or not interface.startswith(PREFIX):
        raise TccapError(f"Interfaces are named {PREFIX}..., not {interface or ''!r}.")
    return interface.removeprefix(PREFIX)


def capturable_devices() -> list[str]:
    """Return the names of the devices whose link type is known."""
    types = {name: netdev.hardware_type(name) for name in netdev.device_names()}
    known = {
        n: linktypes.of_hardware_type(t) for n, t in types.items() if t is not None
    }
    return [name for name, link in known.items() if link]


def link_type(device: str) -> LinkType | None:
    """Return the device's link type; None for all devices together."""
    if device == ANY:
        return None
    hardware_type = netdev.hardware_type(device)
    if hardware_type is None:
        raise TccapError(f"There is no network device {device!r}.")
    link = linktypes.of_hardware_type(hardware_type)
    if link is None:
        raise TccapError(f"Frames of {device!r} have a link type that is not known.")
    return link


def is_listable(text: str) -> bool:
    """Return whether a text can stand in a sentence, such as a device's name."""
    return not set(text) & set("{}")


def _is_utf8(name: str) -> bool:
    """Return whether a name is UTF-8, as Wireshark wants it; the kernel does not."""
    try:
        os.fsencode(name).decode()
    except UnicodeDecodeError:
        return False
    return True
