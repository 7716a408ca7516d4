"""The finder's process: a fork server, whose children inspect one ELF file each.

A child has the file as stdin, and writes one Inspection in JSON to stdout.
"""

import gc
import importlib.util
import mmap
import os
import socket
import sys

# Exit statuses, which tccap.tls.inspector knows.
GIVEN_UP = 1
OUT_OF_MEMORY = 2
PACKAGES_MISSING = 3
_PACKAGES = ("capstone", "numpy", "unicorn")


def main() -> int:
    """Serve requests from stdin, a socket; return the exit status."""
    if not all(map(importlib.util.find_spec, _PACKAGES)):
        return PACKAGES_MISSING
    # Everything is loaded before the rights to load it are given up.
    from tccap.tls.finder import confine, forkserver, inspect  # noqa: PLC0415

    server = os.getpid()

    def inspect_stdin() -> int:
        data = mmap.mmap(0, 0, access=mmap.ACCESS_READ)
        confine.confine(os.fstat(0).st_size)
        if os.getppid() != server:  # it had ended before this process would with it
            return GIVEN_UP
        try:
            answer = inspect.inspect(data)
        except MemoryError:
            return OUT_OF_MEMORY
        sys.stdout.write(answer.to_json() + "\n")
        sys.stdout.flush()
        return 0

    inspect.load()
    confine.isolate()
    gc.freeze()  # so that children share the memory of what is loaded
    forkserver.ForkServer(socket.socket(fileno=0), inspect_stdin).run()
    return 0
