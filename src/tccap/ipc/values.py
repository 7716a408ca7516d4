"""The values that a Plan and a log can have: limits, and sets of words.

They are apart from Plan, since Wireshark waits for the calls that need only
these; dataclasses take a fifth of the time of such a call to import.
"""

from typing import Literal

LIST_MAX = 1024  # entries of each table of bpf/owners/process_filter.h
PID_MAX = (1 << 22) - 1  # PID_MAX_LIMIT, include/linux/threads.h
UID_MAX = (1 << 32) - 2
COMM_LEN_MAX = 15  # TASK_COMM_LEN - 1
IFNAME_LEN_MAX = 15  # IFNAMSIZ - 1, include/uapi/linux/if.h
FILTERS_MAX = 2  # from the filter box, and from the option
# Both filters together fit into one option of a pcapng block (65535 bytes).
FILTER_LEN_MAX = 32000
PATTERN_LEN_MAX = 255  # NAME_MAX: names of cgroups are no longer
PATH_LEN_MAX = 4095  # PATH_MAX - 1, include/uapi/linux/limits.h
SNAPLEN_MAX = 262144
RING_MIB_MAX = 1024
TABLE_MAX = 1 << 20
TLS_WAIT_MAX_MS = 10000

Direction = Literal["both", "in", "out"]
LinkTypes = Literal["all", "ethernet", "raw-ip"]
Label = Literal["off", "short", "full"]
TlsScope = Literal["off", "own", "all"]
Level = Literal["error", "warning", "info", "debug"]

_U32_MAX = (1 << 32) - 1


def number_of(text: str) -> int | None:
    """Return a decimal number up to 2^32 - 1; None for any other text.

    Leading zeros are allowed, any number of them, although int() refuses more than
    4300 digits.
    """
    digits = text.lstrip("0") or "0"
    if not text.isascii() or not text.isdigit() or len(digits) > len(str(_U32_MAX)):
        return None
    number = int(digits)
    return number if number <= _U32_MAX else None
