"""The carrier gives up the rest of the ring when its time is over."""

import os
import time
from pathlib import Path

from tccap.engine.carrier import Carrier, Writer
from tccap.engine.events import Events
from tccap.stream.ring import Batch

BLOCK = bytes(4)


class EndlessRing:
    """A ring that is filled as fast as it is emptied."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0)
        self.taken = 0

    def take(self) -> Batch:
        """Return another batch."""
        self.taken += 1
        return Batch(memoryview(BLOCK), b"", self.taken * len(BLOCK))

    def release(self, batch: Batch) -> None:
        """Take the room of a batch."""

    def is_idle(self) -> bool:
        """Return that there is always more."""
        return False


def test_what_is_carried_slowly_is_given_up_in_time(tmp_path: Path) -> None:
    ring = EndlessRing()
    writer = Writer(os.open(tmp_path / "stream", os.O_WRONLY | os.O_CREAT))
    carrier = Carrier(Events(), ring, writer, lambda _: ())  # type: ignore[arg-type]
    assert not carrier.carry_rest(time.monotonic() + 0.05)
    assert ring.taken > 1
    writer.close()
    os.close(ring.fd)
    written = (tmp_path / "stream").stat().st_size
    assert written == ring.taken * len(BLOCK)
