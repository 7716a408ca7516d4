"""The capture options: one class for everything that concerns them.

Each field of Options is an option: its type, its Entry in Wireshark's dialog,
and its default. From these come the command line's arguments, the ``arg {}``
sentences, and the checks. Wireshark does not pass a value that equals the
default, so the defaults here are the only ones.
"""

import argparse
from collections.abc import Iterable
from typing import Annotated, Any, NamedTuple

from tccap.errors import TccapError, quoted
from tccap.ipc.values import (
    RING_MIB_MAX,
    SNAPLEN_MAX,
    TABLE_MAX,
    TLS_WAIT_MAX_MS,
    Direction,
    Label,
    Level,
    LinkTypes,
    TlsScope,
)


class Entry(NamedTuple):
    """An option in the dialog, and the values that it takes.

    ``kind`` is the extcap argument type. ``limits`` are the smallest and the
    largest value of a number; ``choices`` are the values of a selector, each
    with the text that the dialog shows. ``reload`` is the caption of the button
    that lists further values, which exist only at the moment; such a selector
    takes any value, and Wireshark does not keep it: it would use it later without
    showing it, as it shows only values that are listed.
    """

    kind: str
    group: str
    display: str
    tooltip: str
    limits: tuple[int, int] | None = None
    choices: tuple[tuple[str, str], ...] = ()
    reload: str = ""


class Options(NamedTuple):
    """The values of all options; Options() are those of a user who chose nothing."""

    direction: Annotated[
        Direction,
        Entry(
            kind="selector",
            group="Capture",
            display="Direction",
            tooltip="Which way the captured packets go",
            choices=(
                ("both", "Both directions"),
                ("in", "Only packets that come in"),
                ("out", "Only packets that go out"),
            ),
        ),
    ] = "both"
    link_type: Annotated[
        LinkTypes,
        Entry(
            kind="selector",
            group="Capture",
            display="Link type",
            tooltip="Which devices to capture; a file for tcpdump needs one link type",
            choices=(
                ("all", "All devices"),
                ("ethernet", "Only those with Ethernet frames"),
                ("raw-ip", "Only those with raw IP (tun, WireGuard)"),
            ),
        ),
    ] = "all"
    snaplen: Annotated[
        int,
        Entry(
            kind="unsigned",
            group="Capture",
            display="Snapshot length (bytes)",
            tooltip="How many bytes of each packet to keep",
            limits=(1, SNAPLEN_MAX),
        ),
    ] = SNAPLEN_MAX
    ring_size: Annotated[
        int,
        Entry(
            kind="unsigned",
            group="Capture",
            display="Ring buffer size (MiB)",
            tooltip=(
                "Memory between the kernel and Wireshark; rounded up to a power of two"
            ),
            limits=(1, RING_MIB_MAX),
        ),
    ] = 64
    filter: Annotated[
        str,
        Entry(
            kind="string",
            group="Capture",
            display="Filter",
            tooltip=(
                "A capture filter; a packet also has to match that of the filter box"
            ),
        ),
    ] = ""
    label: Annotated[
        Label,
        Entry(
            kind="selector",
            group="Processes",
            display="Process label",
            tooltip="What the comment of each packet says about its process",
            choices=(
                ("off", "None"),
                ("short", "pid, name and user id"),
                ("full", "Also thread, parent, program and arguments"),
            ),
        ),
    ] = "short"
    process: Annotated[
        str,
        Entry(
            kind="selector",
            group="Processes",
            display="Only this process",
            tooltip="Only packets of this process, for one session of Wireshark",
            choices=(("", "All processes"),),
            reload="List the processes",
        ),
    ] = ""
    place: Annotated[
        str,
        Entry(
            kind="selector",
            group="Processes",
            display="Only this container or unit",
            tooltip="Only packets of this one, for one session of Wireshark",
            choices=(("", "All containers and units"),),
            reload="List the containers and units",
        ),
    ] = ""
    pid: Annotated[
        str,
        Entry(
            kind="string",
            group="Processes",
            display="Only these process ids",
            tooltip="Process ids, with commas between them",
        ),
    ] = ""
    uid: Annotated[
        str,
        Entry(
            kind="string",
            group="Processes",
            display="Only these users",
            tooltip="User ids or names, with commas between them",
        ),
    ] = ""
    comm: Annotated[
        str,
        Entry(
            kind="string",
            group="Processes",
            display="Only these process names",
            tooltip="Names as ps -o comm shows them, with commas between them",
        ),
    ] = ""
    container: Annotated[
        str,
        Entry(
            kind="string",
            group="Processes",
            display="Only these containers",
            tooltip="Names or ids, with commas between them; * stands for any text",
        ),
    ] = ""
    pod: Annotated[
        str,
        Entry(
            kind="string",
            group="Processes",
            display="Only these pods",
            tooltip="Names of pods, as for containers",
        ),
    ] = ""
    namespace: Annotated[
        str,
        Entry(
            kind="string",
            group="Processes",
            display="Only these namespaces",
            tooltip="Namespaces of Kubernetes, as for containers",
        ),
    ] = ""
    unit: Annotated[
        str,
        Entry(
            kind="string",
            group="Processes",
            display="Only these units",
            tooltip="Units of systemd, such as nginx or ssh*, as for containers",
        ),
    ] = ""
    children: Annotated[
        bool,
        Entry(
            kind="boolflag",
            group="Processes",
            display="And their children",
            tooltip="Also the processes that the chosen ones start",
        ),
    ] = False
    inside: Annotated[
        bool,
        Entry(
            kind="boolflag",
            group="Processes",
            display="Also inside containers",
            tooltip="Also devices inside chosen containers, such as lo; tccap-any only",
        ),
    ] = False
    sockets: Annotated[
        int,
        Entry(
            kind="unsigned",
            group="Processes",
            display="Sockets to remember",
            tooltip="How many sockets' processes are known at a time",
            limits=(1024, TABLE_MAX),
        ),
    ] = 65536
    processes: Annotated[
        int,
        Entry(
            kind="unsigned",
            group="Processes",
            display="Processes to remember",
            tooltip="How many processes' names are known at a time",
            limits=(1024, TABLE_MAX),
        ),
    ] = 16384
    tls: Annotated[
        TlsScope,
        Entry(
            kind="selector",
            group="TLS",
            display="TLS secrets",
            tooltip=(
                "Whose TLS connections to decrypt, with secrets from their libraries"
            ),
            choices=(
                ("off", "None"),
                ("own", "Those of the chosen processes, or else mine"),
                ("all", "Those of all processes (root only)"),
            ),
        ),
    ] = "own"
    tls_libraries: Annotated[
        str,
        Entry(
            kind="string",
            group="TLS",
            display="Further programs and libraries",
            tooltip=(
                "Files to read secrets from, beside those found; commas between them"
            ),
        ),
    ] = ""
    tls_wait: Annotated[
        int,
        Entry(
            kind="unsigned",
            group="TLS",
            display="Wait for secrets (ms)",
            tooltip=(
                "How long packets may wait for the secrets of their connection (ms)"
            ),
            limits=(0, TLS_WAIT_MAX_MS),
        ),
    ] = 300
    keylog_file: Annotated[
        str,
        Entry(
            kind="fileselect",
            group="TLS",
            display="Key log file",
            tooltip=(
                "A file that programs write secrets into (SSLKEYLOGFILE), to follow"
            ),
        ),
    ] = ""
    log_level: Annotated[
        Level,
        Entry(
            kind="selector",
            group="Log",
            display="Log level",
            tooltip="How much to write into the log file",
            choices=(
                ("error", "Errors"),
                ("warning", "Warnings"),
                ("info", "Information"),
                ("debug", "Everything"),
            ),
        ),
    ] = "warning"
    log_file: Annotated[
        str,
        Entry(
            kind="fileselect",
            group="Log",
            display="Log file",
            tooltip="Where to write the log; empty for none",
        ),
    ] = ""


class Option(NamedTuple):
    """One option, as the command line names it: ``ring-size`` is Options.ring_size."""

    name: str
    default: str | int | bool
    entry: Entry


OPTIONS = tuple(
    Option(
        field.replace("_", "-"), Options._field_defaults[field], type_.__metadata__[0]
    )
    for field, type_ in Options.__annotations__.items()
)


def add_arguments(
    parser: argparse.ArgumentParser, *, flags_take_values: bool = True
) -> None:
    """Add every option to ``parser`` as a text; `from_arguments` converts.

    A flag may have a value behind it, except where a filter's word may stand there.
    """
    for option in OPTIONS:
        if option.entry.kind == "boolflag" and not flags_take_values:
            parser.add_argument(f"--{option.name}", action="store_const", const="true")
        elif option.entry.kind == "boolflag":
            parser.add_argument(f"--{option.name}", nargs="?", const="true")
        else:
            parser.add_argument(f"--{option.name}")


def from_arguments(arguments: argparse.Namespace) -> Options:
    """Convert and check parsed arguments; TccapError says which one is wrong.

    An option that is absent is None there.
    """
    texts = vars(arguments)
    pairs = zip(Options._fields, OPTIONS, strict=True)
    given = {f: _convert(o, texts[f]) for f, o in pairs if texts[f] is not None}
    return Options(**given)


def _convert(option: Option, text: str) -> Any:
    """Return an option's value, of the type that its field has."""
    if "\0" in text:
        raise TccapError(f"--{option.name} must not contain a NUL character.")
    entry = option.entry
    if entry.kind == "unsigned":
        return _number(option, text)
    if entry.kind == "boolflag":
        return _choice(option, text, ("true", "false")) == "true"
    if entry.choices and not entry.reload:
        return _choice(option, text, [value for value, _ in entry.choices])
    return text


def _choice(option: Option, text: str, values: Iterable[str]) -> str:
    if text not in values:
        known = ", ".join(values)
        raise TccapError(f"--{option.name} is one of {known}, not {quoted(text)}.")
    return text


def _number(option: Option, text: str) -> int:
    assert option.entry.limits is not None
    low, high = option.entry.limits
    try:
        number = int(text)
    except ValueError:  # also if it has more than 4300 digits
        number = low - 1
    if not low <= number <= high:
        raise TccapError(
            f"--{option.name} is a whole number from {low} to {high}, "
            f"not {quoted(text)}."
        )
    return number
