"""What the engine and the carrier tell each other: datagrams on a pair of sockets.

The carrier (engine/carrierprocess.py) has no rights, and may be in the hands of whoever
sent a packet. So a message is a number and plain values, and the engine answers as if
the caller had asked.
"""

import socket
import struct
from collections import deque
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from tccap.errors import TccapError
from tccap.ipc.status import log

_LEFT_OUT: Final = (
    "The engine is busy: some processes get no label, and some connections no secrets."
)
MESSAGE_LEN_MAX: Final = 1 << 17
# Taken at a time: who sends without end must not keep the other from its own end.
TAKEN_MAX: Final = 64
# While the other end is busy; see `Channel.send`.
WAITING_MAX: Final = 1 << 16


class ClosedError(Exception):
    """The other process has ended."""


# --- from the carrier ---------------------------------------------------------------


class Confined(NamedTuple):
    """The carrier has given up its rights, and begins."""


class Stopping(NamedTuple):
    """The front wants the end, or nobody reads the stream: let no more packets come."""


class Described(NamedTuple):
    """A `Describe` was taken: packets of that interface may come."""


class Seen(NamedTuple):
    """A process was seen; its record lacks its number in the stream, and its label."""

    start_ns: int
    pid: int
    euid: int
    version: int
    number: int
    comm: bytes


class MayTrace(NamedTuple):
    """The question whether secrets of a process may come."""

    pid: int


class GotNoSecrets(NamedTuple):
    """A connection that began so long ago has got no secrets of this process."""

    pid: int
    waited_ms: int


class Search(NamedTuple):
    """Look for new sockets."""


# --- from the engine ----------------------------------------------------------------


class Stop(NamedTuple):
    """Somebody has asked the engine to end."""


class Trouble(NamedTuple):
    """The capture ends for this reason, a sentence in UTF-8."""

    reason: bytes


class Silenced(NamedTuple):
    """No more packets come into the ring."""


class Describe(NamedTuple):
    """An Interface Description Block to write before packets of that interface."""

    block: bytes


class Verdict(NamedTuple):
    """The answer to `MayTrace`."""

    pid: int
    may_give: bool
    program: int = 0  # the same for all processes that run it; 0: as it was, or ended


class HandlesAt(NamedTuple):
    """The offsets of handles in a process's libraries have changed (tls/handles.py)."""

    pid: int
    offsets: bytes  # one a byte


class Searched(NamedTuple):
    """The answer to `Search`."""

    seconds: float


Message = (
    Confined
    | Stopping
    | Described
    | Seen
    | MayTrace
    | GotNoSecrets
    | Search
    | Stop
    | Trouble
    | Silenced
    | Describe
    | Verdict
    | HandlesAt
    | Searched
)
# By the number in a message's first byte; a field of bytes takes the rest of it.
_FORMS: Final[tuple[tuple[type[Any], struct.Struct], ...]] = (
    (Confined, struct.Struct("=")),
    (Stopping, struct.Struct("=")),
    (Described, struct.Struct("=")),
    (Seen, struct.Struct("=QIIIQ")),
    (MayTrace, struct.Struct("=I")),
    (GotNoSecrets, struct.Struct("=II")),
    (Search, struct.Struct("=")),
    (Stop, struct.Struct("=")),
    (Trouble, struct.Struct("=")),
    (Silenced, struct.Struct("=")),
    (Describe, struct.Struct("=")),
    (Verdict, struct.Struct("=I?Q")),
    (HandlesAt, struct.Struct("=I")),
    (Searched, struct.Struct("=d")),
)
_NUMBERS: Final = {kind: number for number, (kind, _) in enumerate(_FORMS)}
_WITH_BYTES: Final = (Seen, Trouble, Describe, HandlesAt)
# As many as there are processes and connections.
_MANY: Final = (Seen, MayTrace, GotNoSecrets, Verdict, HandlesAt)


def encoded(message: Message) -> bytes:
    """Return a message as a datagram."""
    number = _NUMBERS[type(message)]
    rest = message[-1] if isinstance(message, _WITH_BYTES) else b""
    fields = message[:-1] if isinstance(message, _WITH_BYTES) else message
    return bytes([number]) + _FORMS[number][1].pack(*fields) + rest


def decoded(data: bytes) -> Message:
    """Return the message of a datagram; TccapError if it is none."""
    if not data or data[0] >= len(_FORMS):
        raise _malformed()
    kind, form = _FORMS[data[0]]
    rest = data[1 + form.size :]
    if len(data) < 1 + form.size or (rest and kind not in _WITH_BYTES):
        raise _malformed()
    fields = form.unpack_from(data, 1)
    made: Message = kind(*fields, rest) if kind in _WITH_BYTES else kind(*fields)
    return made


def _malformed() -> TccapError:
    return TccapError("The engine and its carrier do not understand each other.")


class Channel:
    """One end. It never waits for the other one."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._waiting: deque[bytes] = deque()
        self._has_left_out = False

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._socket.fileno()

    def send(self, message: Message) -> None:
        """Send a message behind those that still wait; ClosedError.

        If WAITING_MAX wait, one about a process is left out, and the log says so.
        """
        if len(self._waiting) < WAITING_MAX or not isinstance(message, _MANY):
            self._waiting.append(encoded(message))
        elif not self._has_left_out:
            self._has_left_out = True
            log("warning", _LEFT_OUT)
        self.flush()

    @property
    def is_waiting(self) -> bool:
        """Return whether messages wait for the other process; see `flush`."""
        return bool(self._waiting)

    def flush(self) -> None:
        """Send what waits, as far as there is room; ClosedError."""
        while self._waiting:
            try:
                self._socket.send(self._waiting[0])
            except BlockingIOError:
                return
            except (BrokenPipeError, ConnectionError):
                raise ClosedError from None
            self._waiting.popleft()

    def take(self) -> Iterator[Message]:
        """Yield messages that have come, TAKEN_MAX at most.

        ClosedError, or TccapError: malformed.
        """
        for _ in range(TAKEN_MAX):
            try:
                data = self._socket.recv(MESSAGE_LEN_MAX)
            except BlockingIOError:
                return
            except ConnectionError:
                raise ClosedError from None
            if not data:
                raise ClosedError
            yield decoded(data)

    def close(self) -> None:
        """Close this end."""
        self._socket.close()


def pair() -> tuple[Channel, Channel]:
    """Return two ends."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setblocking(False)
    first, second = map(Channel, ends)
    return first, second
