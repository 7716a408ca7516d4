"""The arguments of a person's capture: tcpdump's few, and the options of the dialog."""

import argparse
from typing import NamedTuple, NoReturn

from tccap.errors import TccapError, quoted
from tccap.front import options
from tccap.front.options import Options
from tccap.ipc.values import SNAPLEN_MAX, number_of

DURATION_MAX_S = 1_000_000_000  # poll(2) takes no longer times
_DURATION = "duration:"
# Options of tcpdump and dumpcap whose meaning is not kept: better a sentence.
_REFUSED = {
    "-b": "tccap does not split a capture into files yet",
    "-C": "tccap does not split a capture into files yet",
    "-G": "tccap does not split a capture into files yet",
    "-W": "tccap does not split a capture into files yet",
}
_INSTEAD = (
    "pipe it into dumpcap or tshark (tccap ... -w - | tshark -i - -b ... -w FILE)"
)


class Request(NamedTuple):
    """What a person asks for."""

    device: str
    file: str  # -: stdout
    packets_max: int | None
    duration_s: float | None
    filter: str
    options: Options


class Call(NamedTuple):
    """One run: a list, a text about the program, or a capture (``request``)."""

    help: bool
    version: bool
    list: bool
    request: Request | None


def parse(argv: list[str]) -> Call:
    """Return what the arguments ask for; TccapError says what is wrong with them."""
    found = _parser().parse_intermixed_args(argv)
    for word, reason in _REFUSED.items():
        if getattr(found, f"refused_{word[1:]}") is not None:
            raise TccapError(f"{word}: {reason}; {_INSTEAD}.")
    is_short = found.help or found.version or found.list
    request = None if is_short else _request(found)
    return Call(found.help, found.version, found.list, request)


def _request(found: argparse.Namespace) -> Request:
    if found.device is None:
        raise TccapError(
            "-i is missing, the device to capture from: run 'tccap -i any -w FILE'; "
            "tccap -D lists the devices, and tccap --help the options."
        )
    if not found.file:
        raise TccapError(
            "-w is missing, where to write the packets: -w FILE, or -w - for stdout, "
            "to lead into another program."
        )
    return Request(
        device=found.device,
        file=found.file,
        packets_max=_count(found.count),
        duration_s=_duration(found.autostop),
        filter=" ".join(found.words),
        options=options.from_arguments(found),
    )


def _count(text: str | None) -> int | None:
    if text is None:
        return None
    number = number_of(text)
    if not number:
        raise TccapError(f"-c is a number of packets from 1 on, not {quoted(text)}.")
    return number


def _duration(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text.removeprefix(_DURATION))
    except ValueError:
        seconds = 0
    if not text.startswith(_DURATION) or not 0 < seconds <= DURATION_MAX_S:
        raise TccapError(
            f"-a is {_DURATION}SECONDS, such as -a {_DURATION}10, not {quoted(text)}."
        )
    return seconds


def _snaplen(text: str) -> str:
    """Return a snapshot length; 0 means the largest one, as for tcpdump."""
    return str(SNAPLEN_MAX) if text == "0" else text


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="tccap", allow_abbrev=False, add_help=False)
    for words in (("-h", "--help"), ("--version",), ("-D", "--list-interfaces")):
        name = {"-D": "list"}.get(words[0], words[-1].lstrip("-"))
        parser.add_argument(*words, action="store_true", dest=name)
    parser.add_argument("-i", "--interface", dest="device")
    parser.add_argument("-w", dest="file")
    parser.add_argument("-c", dest="count")
    parser.add_argument("-a", "--autostop", dest="autostop")
    parser.add_argument("-s", dest="snaplen", type=_snaplen)
    for word in _REFUSED:
        parser.add_argument(word, dest=f"refused_{word[1:]}", nargs="?", const="")
    options.add_arguments(parser, flags_take_values=False)
    parser.add_argument("words", nargs="*")
    return parser


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise TccapError(f"The command line is not right: {message}; see tccap --help.")
