"""Following the beginnings of connections that the kernel cannot read, by their flows.

The kernel marks a flow at a packet that may be a client's first one, and from then on
sends its packets to the carrier. Packets are not trusted: `INCOMPLETE_MAX` bounds
the memory, and each flow the work for it.
"""

from collections import OrderedDict
from typing import Final

from tccap.stream import abi
from tccap.tls import dtls, tcpbegin
from tccap.tls.flow import Flow, Seen
from tccap.tls.quic import flow as quic

INCOMPLETE_MAX: Final = 1024  # flows whose client random is not known yet


class Flows:
    """The flows, each by the name of its mark (`tls.marks`)."""

    def __init__(self) -> None:
        self._flows: dict[bytes, Flow] = {}
        self._incomplete: OrderedDict[bytes, None] = OrderedDict()
        self._over: list[bytes] = []

    def __contains__(self, flow: bytes) -> bool:
        """Return whether a flow is followed."""
        return flow in self._flows

    def see(self, flow: bytes, datagram: bytes, *, from_client: bool) -> Seen:
        """Take a datagram of a marked flow."""
        state = self._flows.get(flow)
        if state is None:
            state = self._flows[flow] = _begun(flow, datagram)
        seen = state.see(datagram, from_client=from_client)
        if state.client_random:
            self._incomplete.pop(flow, None)
        else:
            self._incomplete[flow] = None
        if state.is_over:
            self._end(flow)
            return Seen(None, is_new=False, kind=None)
        if len(self._incomplete) > INCOMPLETE_MAX:
            self._end(next(iter(self._incomplete)))
        return seen

    def forget(self, flow: bytes) -> None:
        """Drop a flow that is not marked any more."""
        self._flows.pop(flow, None)
        self._incomplete.pop(flow, None)

    def take_over(self) -> list[bytes]:
        """Return the flows to unmark in the kernel, since the last call."""
        over, self._over = self._over, []
        return over

    def _end(self, flow: bytes) -> None:
        self.forget(flow)
        self._over.append(flow)


def _begun(flow: bytes, datagram: bytes) -> Flow:
    """Return the state of a flow that begins with a datagram."""
    if abi.is_tcp(flow):
        return tcpbegin.Flow()
    return dtls.Flow() if dtls.has_records(datagram) else quic.Flow()
