"""Whether others see the memory accesses of a processor in their order."""

import os


def is_weak() -> bool:
    """Return whether the ring (bpf/ring.h) needs barriers here, unlike on x86."""
    return os.uname().machine != "x86_64"
