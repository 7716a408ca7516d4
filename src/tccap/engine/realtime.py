"""Real-time kernels, on which the work on one packet may interrupt that on another.

A classifier builds a packet's block in memory of its CPU, where no other packet may
come in between. PREEMPT_RT guarantees that up to Linux 6.17, and later only with
CONFIG_PREEMPT_RT_NEEDS_BH_LOCK (__local_bh_disable_ip() in kernel/softirq.c).
"""

import contextlib
import gzip
import os
import re
import zlib
from pathlib import Path

from tccap.errors import TccapError

_OPTION = "CONFIG_PREEMPT_RT_NEEDS_BH_LOCK"
_CHANGED = (6, 18)


def refuse_interrupted_packets() -> None:
    """Raise TccapError on a kernel where blocks of packets could be mixed up."""
    kernel = os.uname()
    if "PREEMPT_RT" not in kernel.version:
        return
    if not keeps_packets_apart(kernel.release, _config(kernel.release)):
        raise TccapError(
            "On this real-time kernel the work on one packet may interrupt that on "
            "another, and tccap could mix them up: boot one that is not real-time, or "
            f"was built with {_OPTION}."
        )


def keeps_packets_apart(release: str, config: str | None) -> bool:
    """Return whether each CPU of a real-time kernel works on one packet at a time.

    ``release`` is uname(2)'s; ``config`` is the text of the kernel's configuration,
    None if it cannot be read.
    """
    if config is not None and _OPTION in config:
        return f"{_OPTION}=y" in config
    numbers = re.match(r"(\d+)\.(\d+)", release)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) < _CHANGED


def _config(release: str) -> str | None:
    """Return the configuration of the running kernel; None: it cannot be read."""
    with contextlib.suppress(OSError, EOFError, zlib.error):
        return gzip.decompress(Path("/proc/config.gz").read_bytes()).decode("latin-1")
    with contextlib.suppress(OSError):
        return Path("/boot", f"config-{release}").read_text("latin-1")
    return None
