"""Other programs' use of tc, and what tccap has left there."""

import socket

from support import bpf
from support.netns import Namespace

DIRECTIONS = ("ingress", "egress")
# Classic BPF that matches everything (and so ends the classification), or nothing.
MATCH, PASS_BY = 4294967295, 0


def listing(space: Namespace, device: str) -> str:
    """Return tc's listing of a device's qdiscs and filters."""
    shown = [space.run("tc", "qdisc", "show", "dev", device)]
    shown += [space.run("tc", "filter", "show", "dev", device, s) for s in DIRECTIONS]
    return "\n".join(shown)


def add_filter(
    space: Namespace, device: str, direction: str, priority: int, verdict: int = MATCH
) -> None:
    """Add another program's filter."""
    where = ("dev", device, direction, "prio", str(priority))
    what = ("protocol", "ip", "bpf", "bytecode", f"1,6 0 0 {verdict}")
    space.run("tc", "filter", "add", *where, *what)


def left(space: Namespace) -> list[str]:
    """Return what a capture has left on the devices of a namespace."""
    found = []
    with space.entered():
        for ifindex, name in socket.if_nameindex():
            if "tccap" in (shown := listing(space, name)):
                found.append(f"filters: {shown}")
            if "clsact" in shown:
                found.append(f"qdisc: {shown}")
            if bpf.has_tcx():
                for direction in bpf.TCX:
                    found += [
                        f"program {number} on {name}"
                        for number in bpf.tcx_programs(ifindex, direction)
                    ]
    return found
