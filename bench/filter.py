"""What a capture filter costs: a rejected packet, and making it.

Prints one line a filter. Needs root and bcc; numbers are for reading, not for
passing.
"""

import sys
import time
from itertools import pairwise
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / part) for part in ("src", "tests")]

import expressions  # noqa: E402 - found by the path just set
import progrun  # noqa: E402
from tccap import filterc, libpcap  # noqa: E402
from tccap.cbpf import Program  # noqa: E402

ENTRY = """
int classify(struct __sk_buff *skb)
{
    u64 room[FRAME_ROOM];
    struct frame f;

    frame_open(&f, skb, 0, skb->vlan_present, (u8 *)room + 2);
    return matches(&f);
}
"""
REPEAT = 1_000_000
FILTERS = {
    "no filter": None,
    "ip6": "ip6",
    "tcp port 443": "tcp port 443",
    "three terms": "tcp port 443 and host 10.0.9.9 and not net 192.168.0.0/16",
    "500 hosts": expressions.many_hosts(500),
}
# TCP from 192.168.0.1:1000 to 192.168.0.2:80, in line and 60 or 1500 bytes long.
HEADERS = bytes.fromhex(
    "020000000002 020000000001 0800"
    "45000034 00000000 40060000 c0a80001 c0a80002"
    "03e80050 00000000 00000000 50100000 00000000"
)


def source(program: Program | None) -> str:
    """C of a classifier that does nothing but filter."""
    if program is None:
        return "int classify(struct __sk_buff *skb) { return 0; }"
    head = filterc.head_len([program])
    function = filterc.function("matches", program, head=head, pad=2)
    return f'#define FRAME_HEAD {head}\n#include "frame.h"\n{function}{ENTRY}'


def cost_ns(prog_fd: int, length: int) -> int:
    """Nanoseconds a run, the best of five."""
    frame = HEADERS.ljust(length, b"\0")
    runs = [progrun.run(prog_fd, frame, repeat=REPEAT) for _ in range(5)]
    if any(verdict for verdict, _ in runs):
        raise AssertionError("the benchmark's packet must be rejected")
    return min(duration for _, duration in runs)


def main() -> None:
    """Measure every filter."""
    print(
        "filter           insns  libpcap s   to C s   bcc s   ns for 54, 60, 1500 bytes"
    )
    for name, text in FILTERS.items():
        times = [time.perf_counter()]
        program = libpcap.compile_filter(text, 1, deadline_s=60) if text else None
        times.append(time.perf_counter())
        c_text = source(program)
        times.append(time.perf_counter())
        owner, prog_fd = progrun.load(c_text, "classify")
        times.append(time.perf_counter())
        costs = [cost_ns(prog_fd, length) for length in (54, 60, 1500)]
        report(name, program, times, costs)
        owner.cleanup()


def report(
    name: str, program: Program | None, times: list[float], costs: list[int]
) -> None:
    """Print one line."""
    spans = [after - before for before, after in pairwise(times)]
    seconds = "".join(f"{span:10.3f}" for span in spans)
    print(f"{name:14}{len(program or ()):7}{seconds}   {costs}")


if __name__ == "__main__":
    main()
