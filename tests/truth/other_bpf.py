"""What other programs that use BPF do on the same machine."""

import contextlib
import ctypes
import itertools
import os
import time
from collections.abc import Iterator

from tccap.bpf.syscall import bpf
from tccap.bpf.uapi import Command, MapCreate, MapElem, MapType
from truth.workers import Script, Worker

VALUE_LEN = 1 << 16  # most of the time goes into copying it
TURN_S = 0.1


@contextlib.contextmanager
def reading_a_map() -> Iterator[None]:
    """Have a process read an entry of a map all the time, on each CPU in turn."""
    reader = Worker(_read())
    reader.start()
    try:
        yield
    finally:
        reader.kill()


def _read() -> Script:
    key, value = ctypes.create_string_buffer(4), ctypes.create_string_buffer(VALUE_LEN)
    made = MapCreate(
        map_type=MapType.ARRAY, key_size=4, value_size=VALUE_LEN, max_entries=1
    )
    entry = MapElem(
        map_fd=bpf(Command.MAP_CREATE, made),
        key=ctypes.addressof(key),
        value=ctypes.addressof(value),
    )
    for cpu in itertools.cycle(os.sched_getaffinity(0)):
        os.sched_setaffinity(0, {cpu})
        until = time.monotonic() + TURN_S
        while time.monotonic() < until:
            bpf(Command.MAP_LOOKUP_ELEM, entry)
    yield
