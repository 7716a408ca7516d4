"""What the engine or the carrier uses: it must not grow."""

import os
from pathlib import Path
from typing import NamedTuple

from faults import traffic


class Use(NamedTuple):
    """Memory, descriptors and BPF objects of the engine or the carrier."""

    memory_kib: int
    descriptors: int
    objects: int  # BPF programs, maps and links

    @classmethod
    def of(cls, pid: int) -> "Use":
        # The fewest of several counts: the engine may just have a file of /proc open.
        links = min((_links(pid) for _ in range(20)), key=len)
        bpf = [link for link in links if link.startswith("anon_inode:bpf")]
        return cls(traffic.memory_kib(pid), len(links), len(bpf))


def _links(pid: int) -> list[str]:
    return [_link(path) for path in Path(f"/proc/{pid}/fd").iterdir()]


def _link(path: Path) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115  # it is not a path
    except FileNotFoundError:
        return ""
