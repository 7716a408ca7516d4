"""What a label says of the place where a process runs, and which filters name it."""

import fnmatch
import re
from typing import Final, NamedTuple

from tccap.host.cgrouppath import Place
from tccap.host.containernames import Names
from tccap.owners import label
from tccap.stream.abi import CGROUP_TEXT_LEN

SHORT_ID_LEN: Final = 12
_START_OF_ID: Final = re.compile(r"[0-9a-f]{12,64}")
_SUFFIX: Final = ".service"  # which systemctl(1) adds, too


class Described(NamedTuple):
    """A place by its names; empty: not known, or none."""

    container: str = ""  # the whole id
    container_name: str = ""
    pod: str = ""  # its name, or else its UID
    namespace: str = ""
    unit: str = ""


def described(place: Place, names: Names) -> Described:
    """Return what is known of a place."""
    return Described(
        container=place.container,
        container_name=names.name,
        pod=names.pod or place.pod_uid,
        namespace=names.namespace,
        unit=place.unit,
    )


def text(of: Described, prefix: str = "") -> bytes:
    """Return the terms for a label, each with a space before it.

    ``prefix`` stands before each key. What does not fit is cut.
    """
    terms = b""
    shown = of._replace(container=of.container[:SHORT_ID_LEN])
    for key, value in shown._asdict().items():
        if value:
            raw = value.encode(errors="surrogateescape")
            terms = label.extended(terms, f"{prefix}{key}".encode(), raw, _TEXT_MAX)
    return terms


def matches(word: str, pattern: str, of: Described) -> bool:
    """Return whether a filter's word names a place, such as container web-*."""
    if word == "container":
        starts = bool(_START_OF_ID.fullmatch(pattern))
        return (
            _fits(of.container_name, pattern)
            or _fits(of.container, pattern)
            or (starts and of.container.startswith(pattern))
        )
    if word == "unit":
        return _fits(of.unit, pattern) or _fits(of.unit, pattern + _SUFFIX)
    return _fits(of.pod if word == "pod" else of.namespace, pattern)


def _fits(value: str, pattern: str) -> bool:
    return bool(value) and fnmatch.fnmatchcase(value, pattern)


_TEXT_MAX: Final = CGROUP_TEXT_LEN - 8  # zero bytes follow it
