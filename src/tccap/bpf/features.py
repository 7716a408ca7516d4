"""What the running kernel offers for finding owners; probed, never inferred."""

import os
from pathlib import Path

from tccap.bpf import progs
from tccap.bpf.uapi import ProgType

_KPROBE_PMU = Path("/sys/bus/event_source/devices/kprobe/type")
_BTF = Path("/sys/kernel/btf/vmlinux")
_LOCKDOWN = Path("/sys/kernel/security/lockdown")
# BPF_CALL bpf_get_current_task_btf, BPF_MOV r0 0, BPF_EXIT.
_ASKS_FOR_TASK = bytes.fromhex("850000009e000000b7000000000000009500000000000000")


def has_btf() -> bool:
    """Tell whether the kernel describes its own types."""
    return _BTF.exists()


def has_kprobes() -> bool:
    """Tell whether probes can be set and may read kernel memory."""
    return _KPROBE_PMU.exists() and not _is_confidential()


def tells_classifiers_the_task() -> bool:
    """Tell whether a classifier may know the task that runs (not so in Linux 5.10)."""
    try:
        os.close(progs.load(ProgType.SCHED_CLS, "task", _ASKS_FOR_TASK))
    except OSError:
        return False
    return True


def own_netns() -> int:
    """Return the inode number of our network namespace."""
    return Path("/proc/self/ns/net").stat().st_ino


def symbols(*names: str) -> dict[str, int]:
    """Return the addresses of those kernel symbols that exist."""
    wanted, found = set(names), {}
    with Path("/proc/kallsyms").open(encoding="ascii", errors="replace") as lines:
        for line in lines:
            address, _kind, name, *_module = line.split()
            if name in wanted:
                found[name] = int(address, 16)
    return found


def _is_confidential() -> bool:
    try:
        return "[confidentiality]" in _LOCKDOWN.read_text(encoding="ascii")
    except OSError:
        return False  # no such security module, or not mounted
