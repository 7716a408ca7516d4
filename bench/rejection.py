"""The cost of a capture filter: of a rejected packet, and of compiling it.

BPF_PROG_TEST_RUN measures a rejected packet on a classifier that only filters.
"""

import time
from itertools import pairwise

import expressions
import progrun
from bench import tables
from tccap.filter import emit, libpcap
from tccap.filter.cbpf import Program

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
LENGTHS = (54, 60, 1500)
# TCP from 192.168.0.1:1000 to 192.168.0.2:80; zeros follow the headers.
HEADERS = bytes.fromhex(
    "020000000002 020000000001 0800"
    "45000034 00000000 40060000 c0a80001 c0a80002"
    "03e80050 00000000 00000000 50100000 00000000"
)


def main() -> None:
    """Print a line for each filter."""
    steps = ("libpcap s", "to C s", "bcc s")
    lengths = [f"ns, {length} bytes" for length in LENGTHS]
    rows = [_row(name, text) for name, text in FILTERS.items()]
    tables.show("A packet that the filter rejects", ("", *steps, *lengths), rows)


def _row(name: str, text: str | None) -> tuple[str, ...]:
    times = [time.perf_counter()]
    program = libpcap.compile_filter(text, 1, deadline_s=60) if text else None
    times.append(time.perf_counter())
    c_text = _source(program)
    times.append(time.perf_counter())
    owner, prog_fd = progrun.load(c_text, "classify")
    times.append(time.perf_counter())
    costs = [str(_cost_ns(prog_fd, length)) for length in LENGTHS]
    owner.cleanup()
    return (
        name,
        *(f"{after - before:.3f}" for before, after in pairwise(times)),
        *costs,
    )


def _source(program: Program | None) -> str:
    """Return the C of a classifier that only filters."""
    if program is None:
        return "int classify(struct __sk_buff *skb) { return 0; }"
    head = emit.head_len([program])
    function = emit.function("matches", program, head=head, pad=2)
    return f'#define FRAME_HEAD {head}\n#include "packet/frame.h"\n{function}{ENTRY}'


def _cost_ns(prog_fd: int, length: int) -> int:
    """Return nanoseconds a run, the best of five."""
    frame = HEADERS.ljust(length, b"\0")
    runs = [progrun.run(prog_fd, frame, repeat=REPEAT) for _ in range(5)]
    assert not any(verdict for verdict, _ in runs)  # all were rejected
    return min(duration for _, duration in runs)
