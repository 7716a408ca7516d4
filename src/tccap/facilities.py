"""What the running kernel offers for finding owners; probed, never inferred."""

from pathlib import Path

_KPROBE_PMU = Path("/sys/bus/event_source/devices/kprobe/type")
_BTF = Path("/sys/kernel/btf/vmlinux")
_LOCKDOWN = Path("/sys/kernel/security/lockdown")


def has_btf() -> bool:
    """Tell whether the kernel describes its own types."""
    return _BTF.exists()


def has_kprobes() -> bool:
    """Tell whether probes can be set and may read kernel memory."""
    return _KPROBE_PMU.exists() and not _is_confidential()


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
