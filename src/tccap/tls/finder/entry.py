"""The finder's process: an ELF file on stdin, one Inspection in JSON on stdout."""

import importlib.util
import mmap
import os
import sys

# Exit statuses, which tccap.tls.inspector knows.
OUT_OF_MEMORY = 2
PACKAGES_MISSING = 3
_PACKAGES = ("capstone", "numpy", "unicorn")


def main() -> int:
    """Inspect stdin; return the exit status."""
    if not all(map(importlib.util.find_spec, _PACKAGES)):
        return PACKAGES_MISSING
    # Everything is loaded before the rights to load it are given up.
    from tccap.tls.finder.confine import confine  # noqa: PLC0415
    from tccap.tls.finder.inspect import inspect, load  # noqa: PLC0415

    load()
    data = mmap.mmap(0, 0, access=mmap.ACCESS_READ)
    confine(os.fstat(0).st_size)
    try:
        answer = inspect(data)
    except MemoryError:
        return OUT_OF_MEMORY
    sys.stdout.write(answer.to_json() + "\n")
    return 0
