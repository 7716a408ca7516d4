"""Real-time kernels, on which work on one packet may preempt work on another.

A classifier builds a packet's block in per-CPU memory and relies on no other packet
being processed on that CPU meanwhile. With PREEMPT_RT that holds up to Linux 6.17, and
from 6.18 on only with CONFIG_PREEMPT_RT_NEEDS_BH_LOCK (__local_bh_disable_ip() in
kernel/softirq.c).
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
    """Raise TccapError on a kernel where blocks of packets could get mixed up."""
    kernel = os.uname()
    if "PREEMPT_RT" not in kernel.version:
        return
    if not keeps_packets_apart(kernel.release, _config(kernel.release)):
        raise TccapError(
            "On this real-time kernel work on one packet may interrupt work on "
            "another, and tccap could mix them up: boot a kernel that is not real-time "
            f"or was built with {_OPTION}."
        )


def keeps_packets_apart(release: str, config: str | None) -> bool:
    """Return whether each CPU of a real-time kernel works on one packet at a time.

    ``release`` is uname(2)'s, and ``config`` the text of the kernel's configuration;
    None: it is not available.
    """
    if config is not None and _OPTION in config:
        return f"{_OPTION}=y" in config
    numbers = re.match(r"(\d+)\.(\d+)", release)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) < _CHANGED


def _config(release: str) -> str | None:
    """Return the running kernel's configuration."""
    with contextlib.suppress(OSError, EOFError, zlib.error):
        return gzip.decompress(Path("/proc/config.gz").read_bytes()).decode("latin-1")
    with contextlib.suppress(OSError):
        return Path("/boot", f"config-{release}").read_text("latin-1")
    return None
