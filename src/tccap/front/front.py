"""The front: the unprivileged half, which speaks the extcap protocol.

It answers Wireshark's short calls by itself and leaves a capture to
`supervisor`.
"""

import argparse
import contextlib
import sys
from typing import NoReturn

from tccap.errors import TccapError
from tccap.front import extcap, options
from tccap.ipc.values import ANY
from tccap.paths import README
from tccap.stream import linktypes
from tccap.stream.linktypes import ETHERNET, LinkType

_FLAGS = (
    "--extcap-interfaces",
    "--extcap-dlts",
    "--extcap-config",
    "--capture",
    "--extcap-cleanup-postkill",
    "--help",
    "--version",
)
_VALUES = (
    "--extcap-interface",
    "--extcap-version",
    "--extcap-reload-option",
    "--extcap-capture-filter",
    "--fifo",
)


def main(argv: list[str]) -> int:
    """Serve one call; return the exit status."""
    try:
        return _serve(_parse(argv))
    except TccapError as error:
        print(error, file=sys.stderr)  # noqa: T201  # where Wireshark reads it
        return 1


def _serve(arguments: argparse.Namespace) -> int:
    if arguments.capture:
        from tccap.front import supervisor

        return supervisor.capture(arguments)
    if arguments.extcap_cleanup_postkill:
        from tccap.front import launcher

        with contextlib.suppress(TccapError):  # nobody would read the reason
            launcher.sweep()
        return 0
    sys.stdout.write(_answer(arguments))
    return 0


def _answer(arguments: argparse.Namespace) -> str:
    if arguments.extcap_interfaces:
        return extcap.interfaces(_capturable_devices(), f"file://{README}")
    if arguments.extcap_dlts:
        return extcap.dlts(_link_type(extcap.device_of(arguments.extcap_interface)))
    if arguments.extcap_config:
        extcap.device_of(arguments.extcap_interface)
        return extcap.config(arguments.extcap_reload_option or "", _present_values)
    if arguments.extcap_capture_filter:
        return _filter_error(arguments)
    return _answer_to_person(arguments)


def _answer_to_person(arguments: argparse.Namespace) -> str:
    from tccap.front import usage

    if arguments.help:
        return usage.HELP
    if arguments.version:
        return usage.VERSION
    raise TccapError(
        "Wireshark runs this program; to see packets, run: sudo tshark -i tccap-any; "
        "to see what works here: tccap check"
    )


def _filter_error(arguments: argparse.Namespace) -> str:
    """Return what is wrong with the filter in Wireshark's box; empty if it is valid."""
    from tccap.front import filtercheck

    link = _link_type(extcap.device_of(arguments.extcap_interface)) or ETHERNET
    message = filtercheck.validate(arguments.extcap_capture_filter, link.linktype)
    return f"{message}\n" if message else ""


def _capturable_devices() -> list[str]:
    from tccap.host import netdev

    types = {name: netdev.hardware_type(name) for name in netdev.device_names()}
    known = {
        n: linktypes.of_hardware_type(t) for n, t in types.items() if t is not None
    }
    return [name for name, link in known.items() if link]


def _present_values(option: str) -> extcap.Choices:
    from tccap.host import processlist

    assert option == "process"
    return [
        (str(found.pid), processlist.text_of(found))
        for found in processlist.with_network_sockets()
    ]


def _link_type(device: str) -> LinkType | None:
    """Return the device's link type; None for all devices together."""
    from tccap.host import netdev

    if device == ANY:
        return None
    hardware_type = netdev.hardware_type(device)
    if hardware_type is None:
        raise TccapError(f"There is no network device {device!r}.")
    link = linktypes.of_hardware_type(hardware_type)
    if link is None:
        raise TccapError(f"Frames of {device!r} have a link type that is not known.")
    return link


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = _Parser(prog="tccap", allow_abbrev=False, add_help=False)
    for flag in _FLAGS:
        parser.add_argument(flag, action="store_true")
    for value in _VALUES:
        parser.add_argument(value, nargs="?", default="")
    options.add_arguments(parser)
    # Later versions of Wireshark may pass arguments that are not known here.
    return parser.parse_known_args(argv)[0]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise TccapError(f"The command line is not right: {message}.")
