"""The kernel's marks of connections whose packets it sends as messages.

A mark is named by its flow: the key of the map (struct tls_flow) and, for QUIC and all
else that the carrier reads (`flows`), the id of the mark. Only the carrier removes
marks. So as long as a QUIC mark is there, each packet of its flow has been a message
since the mark was made.
"""

import contextlib
from typing import Any

from tccap.bpf.maps import Map
from tccap.stream import abi

QUIC_UNMARKED = 1  # of bpf/abi.h


class Marks:
    """The maps `tls_marks`, `quic_marks` and `quic_counts`."""

    def __init__(self, tls: Map, quic: Map, quic_counts: Map) -> None:
        self._tls = tls
        self._quic = quic
        self._quic_counts = quic_counts
        self._unmarked = 0

    def remove(self, flow: bytes) -> None:
        """Let later packets of a connection bypass the hold."""
        if len(flow) == abi.FLOW_LEN:
            self._remove_quic(flow)
            return
        with contextlib.suppress(KeyError):
            del self._tls[self._tls.Key.from_buffer_copy(flow)]

    def has_quic(self, flow: bytes) -> bool:
        """Return whether a flow has the mark with this id, and not another one."""
        return self._has(self._key(flow), flow)

    def _remove_quic(self, flow: bytes) -> None:
        key = self._key(flow)
        if not self._has(key, flow):
            return
        del self._quic[key]
        # Without marks, the kernel looks for none.
        self._unmarked += 1
        counts = self._quic_counts
        counts[counts.Key(QUIC_UNMARKED)] = counts.Leaf(self._unmarked)

    def _has(self, key: Any, flow: bytes) -> bool:
        try:
            found = self._quic[key]
        except KeyError:
            return False
        return bool(found.id == abi.mark_id(flow))

    def _key(self, flow: bytes) -> Any:
        return self._quic.Key.from_buffer_copy(flow)
