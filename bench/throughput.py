"""The cost of capturing: the sender's rate, lost packets, and CPU time.

BEFORE names another checkout, whose figures are shown beside ours.
"""

import functools
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench import tables, tools
from support import flood, netns
from support.netns import DISCARD_PORT, Pair, Uplink

# Frame length, UDP payload, segment size, packets of a full run.
HEADERS_LEN = 14 + 20 + 8
SIZES = (
    ("60 bytes", 60 - HEADERS_LEN, 0, 1_000_000),
    ("1400 bytes", 1400 - HEADERS_LEN, 0, 300_000),
    ("64 KiB (GSO)", 64_000, 1400, 20_000),
)
TOOLS: dict[str, tools.Maker] = {
    "no capture": tools.nothing,
    "tcpdump -w": tools.tcpdump(),
    f"tcpdump -w -B {tools.RING_MIB} MiB": tools.tcpdump(
        "-B", f"{tools.RING_MIB << 10}"
    ),
    "dumpcap -w": tools.dumpcap(),
    f"dumpcap -w -B {tools.RING_MIB} MiB": tools.dumpcap("-B", f"{tools.RING_MIB}"),
    "tccap to a file": tools.tccap_to_file(),
    "  without processes": tools.tccap_to_file("--label", "off"),
    "tccap FIFO dumpcap": tools.tccap_to_dumpcap,
}
if before := tools.script_before():
    TOOLS["before: to a file"] = tools.tccap_to_file(script=before)
    TOOLS["  without processes "] = tools.tccap_to_file("--label", "off", script=before)
    TOOLS["before: FIFO dumpcap"] = functools.partial(
        tools.tccap_to_dumpcap, script=before
    )
# The flood numbers its packets, little-endian: this matches one in 1024.
FEW = "udp dst port 9 and udp[8:2] & 0xff03 = 0"
MATCHES_IN = 1024
FILTERED: dict[str, tools.Maker] = {
    "no capture": tools.nothing,
    "tcpdump -w": tools.tcpdump(capture_filter=FEW),
    "tccap to a file": tools.tccap_to_file("--extcap-capture-filter", FEW),
}
# The best run, too: other work on the machine can only slow a run down.
HEAD = (
    *("", "packets/s", "of none", "the best", "of none"),
    *("lost", "lost %", "µs CPU", "µs user", "sent = got + counted"),
)
# With the other end on another host, there is only one process to find.
AWAY = {
    name: TOOLS[name]
    for name in ("no capture", "tcpdump -w", "tccap to a file", "  without processes")
}


class Load(NamedTuple):
    """The packets that are sent, shared among the senders, each on a CPU of its own."""

    payload_len: int
    segment_len: int  # UDP_SEGMENT; 0: none
    packets: int
    matching: int  # how many of the packets pass the capture filter
    senders: int = 0  # 0: one, on any CPU


@dataclass(frozen=True)
class Result:
    """One run of a tool."""

    rate: float  # packets a second, at the sender
    sent: int
    captured: int
    counted: int
    cpu_us: float  # per captured packet, as the next one
    user_us: float  # of it, outside the kernel


def main(*, short: bool) -> None:
    """Print a table for each packet size."""
    rounds = 3 if short else 5
    with netns.pair() as pair:
        for title, payload_len, segment_len, count in SIZES:
            sent = count // 5 if short else count
            load = Load(payload_len, segment_len, sent, sent)
            head = f"{title}: {sent} packets, median of {rounds}"
            print_table(head, _compare(pair, TOOLS, load, rounds))
        sent = MATCHES_IN * (200 if short else 1000)
        load = Load(60 - HEADERS_LEN, 0, sent, sent // MATCHES_IN)
        head = f"60 bytes: {sent} packets, 1 in {MATCHES_IN} passes the capture filter"
        print_table(head, _compare(pair, FILTERED, load, rounds))
        for senders in _numbers_of_senders():
            sent = (100_000 if short else 500_000) * senders
            load = Load(60 - HEADERS_LEN, 0, sent, sent, senders)
            head = f"60 bytes, {senders} sending: {sent} packets, median of {rounds}"
            print_table(head, _compare(pair, TOOLS, load, rounds))
    with netns.uplink() as link:
        sent = 200_000 if short else 1_000_000
        load = Load(60 - HEADERS_LEN, 0, sent, sent)
        head = f"60 bytes to another host: {sent} packets, median of {rounds}"
        print_table(head, _compare(link, AWAY, load, rounds))


def _numbers_of_senders() -> list[int]:
    """Return 1, 2, 4, ... up to the number of CPUs."""
    return [1 << n for n in range(len(os.sched_getaffinity(0)).bit_length())]


def _compare(
    link: Pair | Uplink,
    makers: dict[str, tools.Maker],
    load: Load,
    rounds: int,
) -> dict[str, list[Result]]:
    """Measure interleaved: each tool in every round."""
    results: dict[str, list[Result]] = {name: [] for name in makers}
    for _ in range(rounds):
        for name, maker in makers.items():
            results[name].append(_run(link, maker, load))
    return results


def print_table(title: str, results: dict[str, list[Result]]) -> None:
    """Print the medians of each tool."""
    base = results["no capture"]
    rows = [(name, *_rates(rs, base), *_costs(rs)) for name, rs in results.items()]
    rows[0] = (*rows[0][:5], "", "", "", "", "")  # it captures nothing
    tables.show(title, HEAD, rows)


def _rates(results: list[Result], base: list[Result]) -> Iterator[str]:
    for choose in (statistics.median, max):
        rate = choose(r.rate for r in results)
        yield f"{rate:,.0f}"
        yield f"{rate / choose(r.rate for r in base):.2f}"


def _costs(results: list[Result]) -> tuple[str, ...]:
    lost = statistics.median(r.sent - r.captured for r in results)
    exact = sum(r.sent == r.captured + r.counted for r in results)
    cpu_us, user_us = (
        statistics.median(getattr(r, name) for r in results)
        for name in ("cpu_us", "user_us")
    )
    return (
        f"{lost:,.0f}",
        f"{100 * lost / results[0].sent:.1f}",
        f"{cpu_us:.2f}",
        f"{user_us:.2f}",
        f"{exact} of {len(results)}",
    )


def _run(link: Pair | Uplink, maker: tools.Maker, load: Load) -> Result:
    device = link.near_device
    with tools.folder() as folder, maker(link.near, device, Path(folder)) as tool:
        tool.settle()
        before_s, user_before_s = tool.cpu_s(), tool.user_s()
        seconds = _flood(link, load)
        tool.settle()
        cpu_s, user_s = tool.cpu_s() - before_s, tool.user_s() - user_before_s
    return Result(
        rate=load.packets / seconds,
        sent=load.matching,
        captured=tool.captured,
        counted=tool.counted,
        cpu_us=1e6 * cpu_s / max(tool.captured, 1),
        user_us=1e6 * user_s / max(tool.captured, 1),
    )


def _flood(link: Pair | Uplink, load: Load) -> float:
    """Send; return the seconds it took."""
    each = load.packets // max(load.senders, 1)
    numbers = [DISCARD_PORT, load.payload_len, each]
    if load.segment_len:
        numbers.append(load.segment_len)
    flooding = (sys.executable, flood.__file__, link.far_address, *map(str, numbers))
    cpus = sorted(os.sched_getaffinity(0))[: load.senders]
    pinned = [("taskset", "-c", str(cpu), *flooding) for cpu in cpus] or [flooding]
    running = [
        subprocess.Popen(link.near.command(*command), stdout=subprocess.PIPE, text=True)
        for command in pinned
    ]
    printed = [process.communicate()[0] for process in running]
    for process in running:
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args)
    return max(float(text.split()[1]) for text in printed)
