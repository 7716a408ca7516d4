"""Captures into a file, for a person without Wireshark: ``tccap -i any -w FILE``."""

import sys
from typing import Literal

from tccap.errors import TccapError, refused
from tccap.front import answer, arguments, listing, usage
from tccap.front.arguments import Request
from tccap.ipc.names import ANY
from tccap.stream.linktypes import ETHERNET

Status = Literal[0, 1, 2]


def main(argv: list[str]) -> Status:
    """Do what a person asks for; return the exit status, which is 2 for bad usage."""
    try:
        call = arguments.parse(argv)
    except TccapError as error:
        return _failed(error, 2)
    try:
        if call.request is None:
            return 0 if answer.write(_answer(call)) else 1
        _capture(call.request)
    except TccapError as error:
        return _failed(error, 1)
    except OSError as error:
        return _failed(refused(error), 1)
    return 0


def _failed(message: TccapError | str, status: Status) -> Status:
    print(message, file=sys.stderr)  # noqa: T201  # for the person who runs this
    return status


def _answer(call: arguments.Call) -> str:
    if call.list:
        return "".join(f"{name}\n" for name in (ANY, *listing.capturable_devices()))
    return usage.VERSION if call.version else usage.help_text()


def _capture(request: Request) -> None:
    from tccap.front import filecapture
    from tccap.host import netdev

    if request.device != ANY:
        request = request._replace(device=netdev.own_name(request.device))
    _check_filters(request)
    filecapture.capture(request)


def _check_filters(request: Request) -> None:
    """Raise TccapError before anything starts if the device or a filter is wrong."""
    from tccap.front import filtercheck
    from tccap.host import netdev

    link = listing.link_type(request.device)
    netmask = netdev.netmask(request.device) if link else None
    for text in (request.filter, request.options.filter):
        if message := filtercheck.validate(text, (link or ETHERNET).linktype, netmask):
            raise TccapError(f"The capture filter is not right: {message}.")
