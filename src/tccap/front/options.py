"""The capture options: one table for everything that speaks of them.

From OPTIONS come the command line's arguments, the ``arg {}`` sentences that
make Wireshark's options dialog, and the typed values. Wireshark does not pass
a value that equals the default, so the defaults here are the only ones.
"""

import argparse
from typing import Any, NamedTuple

from tccap.errors import TccapError
from tccap.ipc.plan import RING_MIB_MAX, SNAPLEN_MAX, TABLE_MAX, TLS_WAIT_MAX_MS


class Option(NamedTuple):
    """One capture option.

    ``kind`` is the extcap argument type. ``limits`` are the smallest and the
    largest value of a number; ``choices`` are the values of a selector, each
    with the text that the dialog shows; ``reload`` is the caption of the button
    that asks for more values: those of the moment. Any value is then allowed.
    """

    name: str
    kind: str
    default: str | int
    display: str
    tooltip: str
    group: str
    limits: tuple[int, int] | None = None
    choices: tuple[tuple[str, str], ...] = ()
    reload: str = ""


OPTIONS = (
    Option(
        name="direction",
        kind="selector",
        default="both",
        display="Direction",
        tooltip="Which way the captured packets go",
        group="Capture",
        choices=(
            ("both", "Both directions"),
            ("in", "Only packets that come in"),
            ("out", "Only packets that go out"),
        ),
    ),
    Option(
        name="snaplen",
        kind="unsigned",
        default=SNAPLEN_MAX,
        display="Snapshot length (bytes)",
        tooltip="How many bytes of each packet to keep",
        group="Capture",
        limits=(1, SNAPLEN_MAX),
    ),
    Option(
        name="ring-size",
        kind="unsigned",
        default=64,
        display="Ring size (MiB)",
        tooltip="Memory between the kernel and Wireshark; rounded up to a power of two",
        group="Capture",
        limits=(1, RING_MIB_MAX),
    ),
    Option(
        name="filter",
        kind="string",
        default="",
        display="Filter",
        tooltip="A capture filter; a packet also has to match that of the filter box",
        group="Capture",
    ),
    Option(
        name="label",
        kind="selector",
        default="short",
        display="Process label",
        tooltip="What the comment of each packet tells of its process",
        group="Processes",
        choices=(
            ("off", "None"),
            ("short", "pid, name and user id"),
            ("full", "Also thread, parent, program, arguments and container"),
        ),
    ),
    Option(
        name="process",
        kind="selector",
        default="",
        display="Only this process",
        tooltip="Only packets of this process; the list has those with sockets",
        group="Processes",
        choices=(("", "All processes"),),
        reload="List the processes",
    ),
    Option(
        name="pid",
        kind="string",
        default="",
        display="Only these process ids",
        tooltip="Process ids, with commas between them",
        group="Processes",
    ),
    Option(
        name="uid",
        kind="string",
        default="",
        display="Only these users",
        tooltip="User ids or names, with commas between them",
        group="Processes",
    ),
    Option(
        name="comm",
        kind="string",
        default="",
        display="Only these process names",
        tooltip="Names as ps -o comm shows them, with commas between them",
        group="Processes",
    ),
    Option(
        name="children",
        kind="boolflag",
        default="false",
        display="And their children",
        tooltip="Also the processes that the chosen ones start",
        group="Processes",
    ),
    Option(
        name="sockets",
        kind="unsigned",
        default=65536,
        display="Sockets to remember",
        tooltip="How many sockets' owners are known at a time",
        group="Processes",
        limits=(1024, TABLE_MAX),
    ),
    Option(
        name="processes",
        kind="unsigned",
        default=16384,
        display="Processes to remember",
        tooltip="How many processes' names are known at a time",
        group="Processes",
        limits=(1024, TABLE_MAX),
    ),
    Option(
        name="tls",
        kind="selector",
        default="own",
        display="TLS secrets",
        tooltip="Whose TLS connections to decrypt, with secrets from their libraries",
        group="TLS",
        choices=(
            ("off", "None"),
            ("own", "The chosen processes', or else my own ones'"),
            ("all", "All processes' (root only)"),
        ),
    ),
    Option(
        name="tls-libraries",
        kind="string",
        default="",
        display="Further programs and libraries",
        tooltip="Files to read secrets from, beside those found; commas between them",
        group="TLS",
    ),
    Option(
        name="tls-wait",
        kind="unsigned",
        default=300,
        display="Wait for secrets (ms)",
        tooltip="How long packets may wait for the secrets of their connection (ms)",
        group="TLS",
        limits=(0, TLS_WAIT_MAX_MS),
    ),
    Option(
        name="keylog-file",
        kind="fileselect",
        default="",
        display="Key log file",
        tooltip="A file that programs write secrets into (SSLKEYLOGFILE), to follow",
        group="TLS",
    ),
    Option(
        name="log-level",
        kind="selector",
        default="warning",
        display="Log level",
        tooltip="How much to write into the log file",
        group="Log",
        choices=(
            ("error", "Errors"),
            ("warning", "Warnings"),
            ("info", "Information"),
            ("debug", "Everything"),
        ),
    ),
    Option(
        name="log-file",
        kind="fileselect",
        default="",
        display="Log file",
        tooltip="Where to write the log; empty for none",
        group="Log",
    ),
)


class Options(NamedTuple):
    """The values of OPTIONS, in the same order, under the same names."""

    direction: str
    snaplen: int
    ring_size: int
    filter: str
    label: str
    process: str
    pid: str
    uid: str
    comm: str
    children: str
    sockets: int
    processes: int
    tls: str
    tls_libraries: str
    tls_wait: int
    keylog_file: str
    log_level: str
    log_file: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add every option to ``parser`` as a text; `from_arguments` converts."""
    for option in OPTIONS:
        if option.kind == "boolflag":  # comes without a value
            more: dict[str, Any] = {"nargs": "?", "const": "true"}
        else:
            more = {}
        parser.add_argument(f"--{option.name}", default=option.default, **more)


def defaults() -> Options:
    """Return the options of a user who chose nothing."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return from_arguments(parser.parse_args([]))


def from_arguments(arguments: argparse.Namespace) -> Options:
    """Convert and check parsed arguments; TccapError names what is wrong."""
    values = vars(arguments)
    return Options._make(
        _convert(option, values[option.name.replace("-", "_")]) for option in OPTIONS
    )


def _convert(option: Option, value: str | int) -> str | int:
    if option.kind == "unsigned":
        return _number(option, value)
    if option.choices and not option.reload and value not in dict(option.choices):
        known = ", ".join(choice for choice, _ in option.choices)
        raise TccapError(f"--{option.name} is one of {known}, not {value!r}.")
    return value


def _number(option: Option, value: str | int) -> int:
    assert option.limits is not None
    low, high = option.limits
    try:
        number = int(value)
    except ValueError:
        number = -1
    if not low <= number <= high:
        raise TccapError(
            f"--{option.name} is a whole number from {low} to {high}, not {value!r}."
        )
    return number
