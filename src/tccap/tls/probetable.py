"""A Site as a row of the table that the probes of bpf/tls/secret.c read."""

import struct
from collections.abc import Iterable

from tccap.tls.sites import KINDS, Number, Numbered, Path, Site

SLOTS = 512  # rows of tls_sites, and programs that know the row
DEREFERENCES_MAX = 3
_LABEL_MAX = 40
_CONSTANT, _ENDS_WITH_NUL, _COUNTED, _NUMBERED = range(4)
_X86 = (
    *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"),
    *(f"r{number}" for number in range(8, 16)),
)
_ARM64 = (*(f"x{number}" for number in range(31)), "sp")
# A register's number in struct tls_hit.
_NUMBERS = {name: n for names in (_X86, _ARM64) for n, name in enumerate(names)}

_PATH = struct.Struct(f"=II{DEREFERENCES_MAX}qq")
_NUMBER_TAIL = struct.Struct("=II")
_SITE_TAIL = struct.Struct(f"=II{_LABEL_MAX}s")
LABEL_PLACE = struct.Struct("=Qq")
LABEL = struct.Struct(f"=I{_LABEL_MAX}s")
_NOWHERE = bytes(_PATH.size)


def row(site: Site) -> bytes:
    """Return a struct tls_site."""
    constant = site.label if isinstance(site.label, str) else ""
    label_path = site.label if isinstance(site.label, Path) else None
    kind, number = _label(site)
    return b"".join(
        (
            _path(site.client_random),
            _path(site.secret),
            _path(label_path) if label_path else _NOWHERE,
            _number(site.secret_len),
            _number(number),
            _SITE_TAIL.pack(
                kind,
                KINDS.index(site.kind),
                constant.encode("ascii"),
            ),
        )
    )


def label_rows(
    slot: int, site: Site, strings: Iterable[tuple[int, str]]
) -> dict[bytes, bytes]:
    """Return struct tls_label by struct tls_label_place, for a site in a slot."""
    if isinstance(site.label, Numbered):
        places = [*site.label.labels]
    else:
        places = [(address - site.address, label) for address, label in strings]
    return {
        LABEL_PLACE.pack(slot, place): LABEL.pack(len(label), label.encode("ascii"))
        for place, label in places
    }


def _label(site: Site) -> tuple[int, Number | int]:
    """Return the kind of a site's label, and the number that goes with it."""
    if isinstance(site.label, str):
        return _CONSTANT, 0
    if isinstance(site.label, Numbered):
        return _NUMBERED, site.label.number
    return (_COUNTED, site.label_len) if site.label_len else (_ENDS_WITH_NUL, 0)


def _path(path: Path) -> bytes:
    """Return a struct tls_path."""
    *on, last = path.offsets or (0,)
    offsets = (*on, *[0] * (DEREFERENCES_MAX - len(on)))
    return _PATH.pack(_NUMBERS[path.register], len(on), *offsets, last)


def _number(number: Number | int) -> bytes:
    """Return a struct tls_number."""
    if isinstance(number, int):
        return _NOWHERE + _NUMBER_TAIL.pack(0, number)
    is_value = not number.path.offsets
    return _path(number.path) + _NUMBER_TAIL.pack(number.width, is_value)
