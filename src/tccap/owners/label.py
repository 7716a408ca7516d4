r"""The text that is stamped on packets, as bpf/owners/label.h writes it too.

``key=value`` terms with spaces between them; a value with more than letters,
digits and ``_@+,-./:`` stands in double quotes, in which a quote, a backslash
and every byte that is not printable ASCII is ``\xNN``.
"""

import bisect
import re

from tccap.host.proc import Details

_PLAIN = re.compile(rb"[A-Za-z0-9_@+,\-./:]+")
_UNPRINTABLE = re.compile(rb'[^ -~]|["\\]')


def quoted(value: bytes) -> bytes:
    """Return a value as it stands in a label."""
    if _PLAIN.fullmatch(value):
        return value
    return b'"' + _UNPRINTABLE.sub(lambda m: b"\\x%02x" % m[0][0], value) + b'"'


def basic(pid: int, comm: bytes, uid: int) -> bytes:
    """Return the short label."""
    return b"pid=%d comm=%s uid=%d" % (pid, quoted(comm), uid)


def full(short: bytes, details: Details, len_max: int) -> bytes:
    """Return a label with details, as many as fit into ``len_max`` bytes."""
    text = short
    for key, value in (
        (b"ppid", b"%d" % details.ppid if details.ppid else b""),
        (b"container", details.container.encode()),
        (b"exe", details.exe),
        (b"args", details.args),
    ):
        if value:
            text = _extended(text, key, value, len_max)
    return text


def _extended(text: bytes, key: bytes, value: bytes, len_max: int) -> bytes:
    """Append a term, cut to what fits; a cut value ends in three dots."""
    whole = b"%s %s=%s" % (text, key, quoted(value))
    if len(whole) <= len_max:
        return whole

    def cut(kept: int) -> bytes:
        return b"%s %s=%s" % (text, key, quoted(value[:kept] + b"..."))

    kept = bisect.bisect(range(1, len(value)), len_max, key=lambda n: len(cut(n)))
    return cut(kept) if kept else text
