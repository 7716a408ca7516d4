"""Files that may be TLS libraries: those of the system, and the markers of any."""

import os
import posixpath
import subprocess
from collections.abc import Callable

LDCONFIG = "/sbin/ldconfig"
# Libraries of the system to probe before anybody uses them.
COMMON = ("libssl.so", "libgnutls.so", "libssl3.so", "libnss3.so", "libsoftokn3.so")
# Every library that can log secrets holds the first one, a label, but s2n makes it from
# pieces, and is known by the name of a function. The two libraries that NSS needs in
# addition export the other names.
MARKERS = (
    b"CLIENT_HANDSHAKE_TRAFFIC_SECRET",
    b"\0PK11_GetSymKeyHandle\0",
    b"\0NSC_GetFunctionList\0",
    b"s2n_key_log_tls13_secret",
)
BLOCK_LEN = 1 << 20
# It reads key logs, and so has the labels; no process makes a connection with it.
_READERS = ("libwireshark.so",)


def common() -> list[str]:
    """Return the paths of the TLS libraries that the dynamic linker knows.

    OSError if ldconfig cannot be run.
    """
    done = subprocess.run(
        [LDCONFIG, "-p"], check=False, capture_output=True, env={"LC_ALL": "C"}
    )
    found = []
    for line in os.fsdecode(done.stdout).splitlines():
        name, _, path = line.strip().partition(" ")
        if name.startswith(COMMON) and " => " in path:
            found.append(path.rpartition(" => ")[2])
    return found


def only_reads(path: str) -> bool:
    """Return whether a file is known to hold markers and no TLS library."""
    return posixpath.basename(path).startswith(_READERS)


def has_marker(fd: int, size: int, goes_on: Callable[[], bool]) -> bool:
    """Return whether the first ``size`` bytes of an open file hold a marker."""
    return first_marker(fd, size, MARKERS, goes_on) is not None


def first_marker(
    fd: int, size: int, markers: tuple[bytes, ...], goes_on: Callable[[], bool]
) -> bytes | None:
    """Return one of the markers that the first ``size`` bytes of an open file hold.

    The file may be growing. ``goes_on`` is called before each block; False ends the
    reading.
    """
    offset, before = 0, b""
    while goes_on() and (block := os.pread(fd, min(BLOCK_LEN, size - offset), offset)):
        searched = before + block
        found = next((marker for marker in markers if marker in searched), None)
        if found:
            return found
        offset += len(block)
        before = block[1 - max(map(len, markers)) :]
    return None
