"""What other programs that use BPF do on the same machine."""

import ctypes
import itertools
import os
import time

from tccap.bpf.syscall import bpf
from tccap.bpf.uapi import Command, MapCreate, MapElem, MapType
from truth.workers import Script

VALUE_LEN = 1 << 16  # most of the time goes into copying it
TURN_S = 0.1


def read_a_map() -> Script:
    """Read an entry of a map without end, on each CPU in turn."""
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
