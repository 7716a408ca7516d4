"""The messages of the programs, each with its position in the ring of packet blocks."""

from typing import NamedTuple

from tccap.stream import abi
from tccap.stream.ringbuffer import RingBuffer


class Message(NamedTuple):
    """A message of the programs (bpf/abi.h)."""

    position: int  # in the ring
    block_len: int  # of the block there, if it belongs to the message
    text: bytes  # without struct message_head


class Messages:
    """Their reader; ``data_len`` bytes are those of the ring buffer's data."""

    def __init__(self, fd: int, data_len: int) -> None:
        self.fd = fd
        self._records = RingBuffer(fd, data_len)

    def take(self) -> tuple[list[Message], bool]:
        """Return the messages that have come, and whether these are all that began."""
        records, are_all = self._records.take()
        return [_message(each) for each in records], are_all


def _message(raw: bytes) -> Message:
    return Message(*abi.message_head(raw), raw[abi.MESSAGE_HEAD_LEN :])
