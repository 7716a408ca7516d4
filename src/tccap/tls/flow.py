"""What is found out about a flow on which a connection begins."""

from typing import Final, NamedTuple, Protocol

from tccap.stream.abi import MessageKind

# A HelloRetryRequest is a ServerHello whose random begins so (RFC 8446, section 4.1.3).
RETRY: Final = bytes.fromhex("cf21ad74e59a6111")


class Seen(NamedTuple):
    """What a datagram says about its connection."""

    client_random: bytes | None  # None: not known (yet)
    is_new: bool  # the client random has become known
    kind: MessageKind | None  # of a packet that waits; None: it need not


class Flow(Protocol):
    """A flow, by its protocol: `quic.flow`, `dtls` or `tcpbegin`."""

    @property
    def client_random(self) -> bytes | None:
        """The client random; None: not known (yet)."""

    @property
    def is_over(self) -> bool:
        """Whether nothing can be learned from it (any more)."""

    def see(self, datagram: bytes, *, from_client: bool) -> Seen:
        """Take what a datagram of UDP or a segment of TCP carries."""
