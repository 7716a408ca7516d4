"""What capturing costs the sender, loses, and takes of the CPU."""

import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench import tables, tools
from support import flood, netns
from support.netns import DISCARD_PORT, Pair

# Frame length, payload of UDP, segment size, packets in the full form.
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
    "tccap to a file": tools.tccap_to_file,
    "tccap FIFO dumpcap": tools.tccap_to_dumpcap,
}
HEAD = ("", "packets/s", "of none", "lost", "lost %", "µs CPU", "sent = got + told")


@dataclass(frozen=True)
class Result:
    """One run of a tool."""

    rate: float  # packets a second, at the sender
    sent: int
    captured: int
    counted: int
    cpu_us: float  # user side, of a packet that was captured


def main(*, short: bool) -> None:
    """Print a table for each packet size."""
    rounds = 3 if short else 5
    with netns.pair() as pair:
        for title, payload_len, segment_len, count in SIZES:
            sent = count // 5 if short else count
            results: dict[str, list[Result]] = {name: [] for name in TOOLS}
            for _ in range(rounds):  # side by side: all tools in every round
                for name, maker in TOOLS.items():
                    results[name].append(
                        _run(pair, maker, payload_len, segment_len, sent)
                    )
            print_table(f"{title}: {sent} packets, median of {rounds}", results)


def print_table(title: str, results: dict[str, list[Result]]) -> None:
    """Print the medians of each tool."""
    base = statistics.median(r.rate for r in results["no capture"])
    tables.show(title, HEAD, [_row(name, rs, base) for name, rs in results.items()])


def _row(name: str, results: list[Result], base: float) -> tuple[str, ...]:
    rate = statistics.median(r.rate for r in results)
    if name == "no capture":
        return (name, f"{rate:,.0f}", "1.00", "", "", "", "")
    lost = statistics.median(r.sent - r.captured for r in results)
    exact = sum(r.sent == r.captured + r.counted for r in results)
    cpu_us = statistics.median(r.cpu_us for r in results)
    return (
        name,
        f"{rate:,.0f}",
        f"{rate / base:.2f}",
        f"{lost:,.0f}",
        f"{100 * lost / results[0].sent:.1f}",
        f"{cpu_us:.2f}",
        f"{exact} of {len(results)}",
    )


def _run(
    pair: Pair, maker: tools.Maker, payload_len: int, segment_len: int, count: int
) -> Result:
    with tools.folder() as folder, maker(pair.near, Path(folder)) as tool:
        tool.settle()
        before_s = tool.cpu_s()
        seconds = _flood(pair, payload_len, segment_len, count)
        tool.settle()
        cpu_s = tool.cpu_s() - before_s
    return Result(
        rate=count / seconds,
        sent=count,
        captured=tool.captured,
        counted=tool.counted,
        cpu_us=1e6 * cpu_s / max(tool.captured, 1),
    )


def _flood(pair: Pair, payload_len: int, segment_len: int, count: int) -> float:
    """Send; return the seconds it took."""
    numbers = (
        DISCARD_PORT,
        payload_len,
        count,
        *((segment_len,) if segment_len else ()),
    )
    command = (sys.executable, flood.__file__, pair.far_address, *map(str, numbers))
    done = subprocess.run(
        pair.near.command(*command), check=True, capture_output=True, text=True
    )
    return float(done.stdout.split()[1])
