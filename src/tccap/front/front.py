"""The front: the unprivileged half, which speaks the extcap protocol.

It answers Wireshark's short calls by itself, those for every device by way of
`listing`, and leaves a capture to `supervisor`. A person's arguments are for
`commandline`.
"""

import argparse
import contextlib
import sys
from typing import NoReturn

from tccap.errors import TccapError, refused
from tccap.front import answer, extcap, listing, options
from tccap.stream.linktypes import ETHERNET, LinkType

_FLAGS = (
    "--extcap-interfaces",
    "--extcap-dlts",
    "--extcap-config",
    "--capture",
    "--extcap-cleanup-postkill",
)
_VALUES = (
    "--extcap-interface",
    "--extcap-version",
    "--extcap-reload-option",
    "--extcap-capture-filter",
    "--fifo",
)
_OF_WIRESHARK = ("--extcap-", "--capture", "--fifo")


def main(argv: list[str]) -> int:
    """Serve one call; return the exit status."""
    if not any(word.startswith(_OF_WIRESHARK) for word in argv):
        from tccap.front import commandline

        return commandline.main(argv)
    try:
        return _serve(_parse(argv))
    except TccapError as error:
        message = str(error)
    except OSError as error:
        message = refused(error)
    print(message, file=sys.stderr)  # noqa: T201  # where Wireshark reads it
    return 1


def _serve(arguments: argparse.Namespace) -> int:
    if arguments.capture:
        from tccap.front.earlyengine import EarlyEngine

        early = EarlyEngine(arguments.fifo)
        from tccap.front import supervisor  # slow

        return supervisor.capture(arguments, early)
    if arguments.extcap_cleanup_postkill:
        from tccap.front import launcher

        with contextlib.suppress(TccapError):  # nobody would read the reason
            launcher.sweep()
        return 0
    return 0 if answer.write(_answer(arguments)) else 1


def _answer(arguments: argparse.Namespace) -> str:
    if arguments.extcap_interfaces:
        return listing.interfaces(listing.capturable_devices())
    if arguments.extcap_dlts:
        return listing.dlts(_link_type(arguments))
    if arguments.extcap_config:
        return _config(arguments)
    if arguments.extcap_capture_filter:
        return _filter_error(arguments)
    raise TccapError(
        "The command line has none of Wireshark's calls: see tccap --help."
    )


def _config(arguments: argparse.Namespace) -> str:
    reload = arguments.extcap_reload_option
    if not reload:
        return listing.config(arguments.extcap_interface)
    listing.device_of(arguments.extcap_interface)
    return extcap.config(reload, _present_values)


def _link_type(arguments: argparse.Namespace) -> LinkType | None:
    return listing.link_type(listing.device_of(arguments.extcap_interface))


def _filter_error(arguments: argparse.Namespace) -> str:
    """Return what is wrong with the filter in Wireshark's box; empty if it is valid."""
    from tccap.front import filtercheck
    from tccap.host import netdev

    link = _link_type(arguments)
    device = listing.device_of(arguments.extcap_interface)
    message = filtercheck.validate(
        arguments.extcap_capture_filter,
        (link or ETHERNET).linktype,
        netdev.netmask(device) if link else None,
    )
    return f"{message}\n" if message else ""


def _present_values(option: str) -> extcap.Choices:
    from tccap.host import placelist, processlist

    if option == "place":
        return placelist.with_network_sockets()
    assert option == "process"
    return [
        (str(found.pid), processlist.text_of(found))
        for found in processlist.with_network_sockets()
    ]


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
