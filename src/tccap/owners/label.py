r"""The text of a packet's label, which bpf/owners/label.h writes, too.

It is ``key=value`` terms with spaces between them. A value with more than letters,
digits and ``_@+,-./:`` stands in double quotes; in it a quote, a backslash and every
byte that is not printable ASCII is ``\xNN``.
"""

import bisect
import re

from tccap.host.proc import Details
from tccap.stream import abi

_PLAIN = re.compile(rb"[A-Za-z0-9_@+,\-./:]+")
_UNPRINTABLE = re.compile(rb'[^ -~]|["\\]')


def len_max(kind: str) -> int:
    """Return how many bytes a label may have; ``kind`` is the Plan's."""
    return abi.LABEL_LEN_FULL if kind == "full" else abi.LABEL_LEN_SHORT


def quoted(value: bytes) -> bytes:
    """Return a value as it stands in a label."""
    if _PLAIN.fullmatch(value):
        return value
    return b'"' + _UNPRINTABLE.sub(lambda m: b"\\x%02x" % m[0][0], value) + b'"'


def basic(pid: int, comm: bytes, uid: int) -> bytes:
    """Return the short label."""
    return b"pid=%d comm=%s uid=%d" % (pid, quoted(comm), uid)


def full(short: bytes, details: Details, most: int) -> bytes:
    """Return a label with details, as many as fit into ``most`` bytes."""
    text = short
    for key, value in (
        (b"name", details.name),
        (b"user", details.user),
        (b"ppid", b"%d" % details.ppid if details.ppid else b""),
        (b"exe", details.exe),
        (b"args", details.args),
    ):
        if value:
            text = extended(text, key, value, most)
    return text


def extended(text: bytes, key: bytes, value: bytes, most: int) -> bytes:
    """Append a term, cut to what fits; a cut value ends in three dots."""
    whole = b"%s %s=%s" % (text, key, quoted(value))
    if len(whole) <= most:
        return whole

    def cut(kept: int) -> bytes:
        return b"%s %s=%s" % (text, key, quoted(value[:kept] + b"..."))

    kept = bisect.bisect(range(1, len(value)), most, key=lambda n: len(cut(n)))
    return cut(kept) if kept else text
