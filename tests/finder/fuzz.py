"""Running the finder on damaged ELF files.

`python -m finder.fuzz FILE FIRST COUNT` runs COUNT seeds from FIRST on, and prints how
many answers there were of each kind. It exits with 0 if every seed gave an answer; an
exception, a crash of a library or a hang gives another status.
"""

import os
import random
import signal
import struct
import sys
from collections import Counter
from pathlib import Path

from tccap.tls.finder.inspect import inspect, load
from tccap.tls.sites import Inspection

HANG_S = 60  # of processor time, for one file; ordinary ones take less than one
_HEADER_LEN = 64
_INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 47)


def mutated(content: bytes, seed: int) -> bytes:
    """Return a damaged copy; the same seed makes the same damage."""
    dice = random.Random(seed)
    made = bytearray(content)
    for _ in range(dice.choice((1, 1, 2, 4, 16, 64))):
        _damage(made, dice)
    if dice.random() < 0.15:
        del made[dice.randrange(len(made)) :]
    return bytes(made)


def _damage(made: bytearray, dice: random.Random) -> None:
    place = _place(made, dice)
    kind = dice.randrange(4)
    if kind == 0:
        made[place] ^= 1 << dice.randrange(8)
    elif kind == 1:
        made[place] = dice.randrange(256)
    else:
        size = dice.choice((2, 4, 8))
        value = dice.choice((*_INTERESTING, len(made), dice.getrandbits(64)))
        value += dice.choice((-1, 0, 0, 1))
        place = min(place - place % size, len(made) - size)
        value &= (1 << 8 * size) - 1
        made[place : place + size] = value.to_bytes(size, "little")


def _place(made: bytearray, dice: random.Random) -> int:
    """Choose a byte: of the headers, of the tables that they name, or any."""
    kind = dice.random()
    if kind < 0.15:
        return dice.randrange(_HEADER_LEN)
    headers, count = 64, 12
    if kind < 0.4:
        return headers + dice.randrange(56 * count)
    if kind < 0.8:
        number = dice.randrange(count)
        offset, size = _segment(made, headers + 56 * number)
        if size > 0 and offset + size <= len(made):
            return offset + dice.randrange(min(size, 1 << 14))
    return dice.randrange(len(made))


def _segment(made: bytearray, place: int) -> tuple[int, int]:
    [offset] = struct.unpack_from("<Q", made, place + 8)
    [size] = struct.unpack_from("<Q", made, place + 32)
    return offset, size


def main(file: str, first: str, count: str) -> None:
    """Run seeds, and print the answers."""
    content = Path(file).read_bytes()
    load()
    found: Counter[str] = Counter()
    for seed in range(int(first), int(first) + int(count)):
        signal.setitimer(signal.ITIMER_VIRTUAL, HANG_S)  # its signal ends the process
        os.ftruncate(sys.stderr.fileno(), 0)
        os.lseek(sys.stderr.fileno(), 0, os.SEEK_SET)
        os.write(sys.stderr.fileno(), f"seed {seed}\n".encode())
        answer = inspect(mutated(content, seed))
        assert Inspection.from_json(answer.to_json()) == answer
        found[answer.refusal or "found"] += 1
    for text, times in found.most_common():
        print(f"{times:8} {text}")


if __name__ == "__main__":
    main(*sys.argv[1:])
