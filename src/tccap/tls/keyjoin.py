"""Secrets of libraries that know keys by PKCS#11 handles: labels joined with values.

NSS has a key's label in one library (a site of kind "key") and its bytes in another
(kind "value"). Both know its handle, which joins them. Handles are counted up within a
process, so one handle is one key. If two keys had the same handle within a short time,
for instance because the library was initialised again, neither is used.
"""

from collections import OrderedDict
from typing import NamedTuple

from tccap.tls import keylog
from tccap.tls.keylog import Secret
from tccap.tls.sites import CKA_VALUE, HANDLE_LEN, SECRET_LENS

# A key's label follows its value: at once in TLS 1.3, with Finished in TLS 1.2.
REMEMBERED_S = 30.0
VALUES_MAX = 4096


class _Value(NamedTuple):
    content: bytes  # empty: several keys had this handle
    since: float


class KeyJoin:
    """The values of keys, of all processes; times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._values: OrderedDict[tuple[int, bytes], _Value] = OrderedDict()

    def value(
        self, pid: int, attribute: bytes, handle: bytes, value: bytes, now: float
    ) -> None:
        """Record an attribute of a new key: its type without zeros, and its content.

        ``handle`` begins with the key's handle.
        """
        if attribute != CKA_VALUE or len(value) not in SECRET_LENS:
            return
        key = (pid, handle[:HANDLE_LEN])
        known = self._known(key, now)
        content = value if known in (None, value) else b""
        self._values[key] = _Value(content, now)
        self._values.move_to_end(key)
        while len(self._values) > VALUES_MAX or self._is_old(now):
            self._values.popitem(last=False)

    def secret(
        self, pid: int, label: bytes, client_random: bytes, handle: bytes, now: float
    ) -> Secret | None:
        """Return the secret whose key has this handle; None if that is not known."""
        value = self._known((pid, handle[:HANDLE_LEN]), now)
        return keylog.accept(label, client_random, value) if value else None

    def _is_old(self, now: float) -> bool:
        """Return whether the oldest value has expired."""
        return now - next(iter(self._values.values())).since >= REMEMBERED_S

    def _known(self, key: tuple[int, bytes], now: float) -> bytes | None:
        found = self._values.get(key)
        return found.content if found and now - found.since < REMEMBERED_S else None
