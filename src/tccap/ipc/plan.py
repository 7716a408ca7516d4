"""The Plan: what the front asks of the engine.

It crosses from an unprivileged process to a privileged one, so it holds plain
values only, and the engine checks every one of them again.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Self, get_args

from tccap.errors import TccapError
from tccap.ipc.names import ANY
from tccap.ipc.values import (
    COMM_LEN_MAX,
    FILTER_LEN_MAX,
    FILTERS_MAX,
    IFNAME_LEN_MAX,
    LIST_MAX,
    PATH_LEN_MAX,
    PATTERN_LEN_MAX,
    PID_MAX,
    RING_MIB_MAX,
    SNAPLEN_MAX,
    TABLE_MAX,
    TLS_WAIT_MAX_MS,
    UID_MAX,
    Direction,
    Label,
    LinkTypes,
    TlsScope,
)

_NO_NAMES: Final = (".", "..")


@dataclass(frozen=True)
class Plan:
    """One capture.

    ``device`` is a network device's name, or ``any``; each of ``filters`` is a
    capture filter that a packet has to match; devices whose link type is not one of
    ``link_types`` are left out; ``snaplen`` is in bytes of a
    frame, ``ring_mib`` in MiB. A packet passes the process filter if a process
    at one of its endpoints has one of ``pids``, one of ``uids`` (effective user
    ids) and one of ``comms``, and is in one of ``containers``, ``pods``, ``namespaces``
    (Kubernetes) and ``units``, which are globs; an empty list lets all pass.
    ``children`` adds the descendants of such processes. ``inside`` adds the devices in
    the network namespaces of chosen containers to ``any``. ``sockets`` and
    ``processes`` are the sizes of the kernel's tables.

    ``tls`` says whose processes' TLS secrets to read; ``tls_libraries`` are files
    that may hold a TLS library, besides those that are found; ``tls_wait_ms`` is
    how long packets wait for secrets if none arrives. With ``keylog``, lines of a
    key log follow the plan.

    TccapError if a field has the wrong type or is out of range.
    """

    device: str
    filters: tuple[str, ...]
    direction: Direction
    link_types: LinkTypes
    snaplen: int
    ring_mib: int
    label: Label
    pids: tuple[int, ...]
    uids: tuple[int, ...]
    comms: tuple[str, ...]
    containers: tuple[str, ...]
    pods: tuple[str, ...]
    namespaces: tuple[str, ...]
    units: tuple[str, ...]
    children: bool
    inside: bool
    sockets: int
    processes: int
    tls: TlsScope
    tls_libraries: tuple[str, ...]
    tls_wait_ms: int
    keylog: bool

    def __post_init__(self) -> None:
        for name, ok in self._checks().items():
            if not ok:
                raise TccapError(f"The plan's {name} is not acceptable.")

    def _checks(self) -> dict[str, bool]:
        return {
            "device": _is_device(self.device),
            "filters": _is_list(self.filters, _is_filter, FILTERS_MAX),
            "direction": self.direction in get_args(Direction),
            "link_types": self.link_types in get_args(LinkTypes),
            "snaplen": _is_within(self.snaplen, 1, SNAPLEN_MAX),
            "ring_mib": _is_within(self.ring_mib, 1, RING_MIB_MAX),
            "label": self.label in get_args(Label),
            "pids": _is_list(self.pids, lambda n: _is_within(n, 1, PID_MAX)),
            "uids": _is_list(self.uids, lambda n: _is_within(n, 0, UID_MAX)),
            "comms": _is_list(self.comms, _is_comm),
            "containers": _is_list(self.containers, is_pattern),
            "pods": _is_list(self.pods, is_pattern),
            "namespaces": _is_list(self.namespaces, is_pattern),
            "units": _is_list(self.units, is_pattern),
            "children": isinstance(self.children, bool),
            "inside": self.inside is False or (self.inside is True and self.is_any),
            "sockets": _is_within(self.sockets, 1, TABLE_MAX),
            "processes": _is_within(self.processes, 1, TABLE_MAX),
            "tls": self.tls in get_args(TlsScope),
            "tls_libraries": _is_list(self.tls_libraries, is_path),
            "tls_wait_ms": _is_within(self.tls_wait_ms, 0, TLS_WAIT_MAX_MS),
            "keylog": isinstance(self.keylog, bool),
        }

    @property
    def filters_processes(self) -> bool:
        """Return whether only packets of certain processes are wanted."""
        return bool(self.pids or self.uids or self.comms or self.places)

    @property
    def places(self) -> dict[str, tuple[str, ...]]:
        """Return the lists of globs that are not empty, by the words of filters."""
        lists = {
            "container": self.containers,
            "pod": self.pods,
            "namespace": self.namespaces,
            "unit": self.units,
        }
        return {word: patterns for word, patterns in lists.items() if patterns}

    @property
    def is_any(self) -> bool:
        """Return whether all devices are meant, later ones included."""
        return self.device == ANY

    def to_json(self) -> str:
        """Return the Plan as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a Plan; TccapError unless it has exactly the fields, all acceptable."""
        try:
            values: Any = json.loads(text)
        except (ValueError, RecursionError):
            raise TccapError("The plan is not JSON.") from None
        if not isinstance(values, dict) or set(values) != {f.name for f in fields(cls)}:
            raise TccapError("The plan does not have exactly the known fields.")
        lists = {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
        return cls(**(values | lists))


def _is_list(
    value: object, is_item: Callable[[Any], bool], len_max: int = LIST_MAX
) -> bool:
    return (
        isinstance(value, tuple) and len(value) <= len_max and all(map(is_item, value))
    )


def _is_device(value: object) -> bool:
    """Return whether the kernel takes such a name (dev_valid_name, net/core/dev.c)."""
    if not _is_text(value, IFNAME_LEN_MAX):
        return False
    name = str(value)
    return name not in _NO_NAMES and not any(c in "/:" or c.isspace() for c in name)


def _is_filter(value: object) -> bool:
    return _is_text(value, FILTER_LEN_MAX)


def is_path(value: object) -> bool:
    """Return whether a value can be the absolute path of a file."""
    return _is_text(value, PATH_LEN_MAX) and str(value).startswith("/")


def is_pattern(value: object) -> bool:
    """Return whether a value can be a glob for a container, pod, namespace or unit."""
    return _is_text(value, PATTERN_LEN_MAX)


def _is_comm(value: object) -> bool:
    # A name need not be UTF-8; Python then holds its bytes as surrogates.
    return _is_text(value, COMM_LEN_MAX, errors="surrogateescape")


def _is_text(value: object, len_max: int, errors: str = "strict") -> bool:
    """Return whether a text has from 1 to ``len_max`` bytes, none of them zero."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        return 0 < len(value.encode("utf-8", errors)) <= len_max
    except UnicodeEncodeError:  # a lone surrogate, which JSON can contain
        return False


def _is_within(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high
