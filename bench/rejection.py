"""The cost of a capture filter: of a rejected packet, and of loading it.

BPF_PROG_TEST_RUN measures a rejected packet on a classifier that only filters.
"""

import os
import time
from itertools import pairwise

import expressions
import progrun
from bench import tables
from tccap.bpf import progs, source
from tccap.bpf.patch import NO_PATCHES, Patches, patched
from tccap.bpf.uapi import ProgType
from tccap.filter import ebpf, libpcap
from tccap.filter.capturefilter import PACKET_FILTER
from tccap.filter.cbpf import Program

ENTRY = """
int classify(struct __sk_buff *skb)
{
    struct filter_input *input = filter_input();
    struct frame f;

    if (!input)
        return 0;
    input->is_ethernet = 1;
    frame_open(&f, skb, input, 0, skb->vlan_present,
               PATCHED_NUMBER(PACKET_FILTER_HEAD));
    return packet_filter(&f);
}
"""
NOTHING = "int classify(struct __sk_buff *skb) { return 0; }"
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
    steps = ("libpcap s", "to eBPF s", "load s")
    lengths = [f"ns, {length} bytes" for length in LENGTHS]
    rows = [_row(name, text) for name, text in FILTERS.items()]
    tables.show("A packet that the filter rejects", ("", *steps, *lengths), rows)


def _row(name: str, text: str | None) -> tuple[str, ...]:
    c_text = source.text(source.including("packet/frame.h"), ENTRY if text else NOTHING)
    owner, code = progrun.compiled(c_text, "classify")
    times = [time.perf_counter()]
    program = libpcap.compile_filter(text, 1, deadline_s=60) if text else None
    times.append(time.perf_counter())
    patches = _patches(program) if program else NO_PATCHES
    times.append(time.perf_counter())
    prog_fd = progs.load(ProgType.SCHED_CLS, "classify", patched(code, patches))
    times.append(time.perf_counter())
    costs = [str(_cost_ns(prog_fd, length)) for length in LENGTHS]
    os.close(prog_fd)
    owner.cleanup()
    return (
        name,
        *(f"{after - before:.3f}" for before, after in pairwise(times)),
        *costs,
    )


def _patches(program: Program) -> Patches:
    head = ebpf.head_len([program])
    return Patches({PACKET_FILTER: head}, {PACKET_FILTER: progrun.alone(program)})


def _cost_ns(prog_fd: int, length: int) -> int:
    """Return nanoseconds a run, the best of five."""
    frame = HEADERS.ljust(length, b"\0")
    runs = [progrun.run(prog_fd, frame, repeat=REPEAT) for _ in range(5)]
    assert not any(verdict for verdict, _ in runs)  # all were rejected
    return min(duration for _, duration in runs)
