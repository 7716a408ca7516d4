"""Which memory the classifiers use for the ring."""

import itertools

import progrun
from support import stream
from support.detached import Detached, detached
from tccap.stream import abi

RING_MIB = 16
FRAME_LEN = 3000
CHUNK_LEN = abi.RING_CHUNK_LEN_MAX
TIMES_ROUND = 2


def _frame(number: int) -> bytes:
    return number.to_bytes(8, "little").ljust(FRAME_LEN, b"\xff")


class _Capture:
    """Frames that are captured, and read when the test says so."""

    def __init__(self) -> None:
        self._capture: Detached = detached(label="off", tls="off", ring_size=RING_MIB)
        self._numbers = itertools.count()
        self.sent: list[int] = []
        self.found: list[int] = []

    def send(self, length: int) -> None:
        """Send frames of so many bytes."""
        for number in itertools.islice(self._numbers, length // FRAME_LEN):
            progrun.verdict(self._capture.programs["in"], _frame(number))
            self.sent.append(number)

    def read(self) -> None:
        """Read all that there is."""
        while batch := self._capture.ring.take():
            for kind, body in stream.blocks(bytes(batch.blocks)):
                assert kind == stream.EPB
                data = stream._frame(body).data
                number = int.from_bytes(data[:8], "little")
                assert data == _frame(number)
                self.found.append(number)
            self._capture.ring.release(batch)

    def used(self) -> int:
        """Return how many chunks in memory were ever written."""
        size = abi.ring_shape(abi.CAPLEN_MAX, 1, RING_MIB).chunk_size
        memory = self._capture.ring._chunks
        return sum(any(memory[at : at + size]) for at in range(0, len(memory), size))


def test_a_ring_that_is_read_in_time_uses_a_few_chunks() -> None:
    """They stay in the caches of the processors."""
    capture = _Capture()
    for _ in range(TIMES_ROUND * (RING_MIB << 20) // CHUNK_LEN):
        capture.send(CHUNK_LEN)
        capture.read()
    assert capture.found == capture.sent
    assert capture.used() <= 3


def test_behind_a_slow_reader_all_chunks_are_used_in_order() -> None:
    capture = _Capture()
    for _ in range(3):
        capture.send((RING_MIB << 20) - CHUNK_LEN)
        capture.read()
        for _ in range(5):
            capture.send(CHUNK_LEN)
            capture.read()
    assert capture.found == capture.sent
    assert capture.used() == (RING_MIB << 20) // CHUNK_LEN
