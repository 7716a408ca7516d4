"""What the running kernel offers, each feature decided in this one place.

The engine and `tccap check` both ask here, so that they never disagree.
Distributions backport, and hardened kernels leave things out, so versions say little:
a feature is tried where that costs next to nothing.
"""

import contextlib
import ctypes
import functools
import os
import re
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path

from tccap.bpf import progs
from tccap.bpf.maps import Map
from tccap.bpf.objects import MapSpec
from tccap.bpf.uapi import MapType, ProgType
from tccap.host import libc

BTF = Path("/sys/kernel/btf/vmlinux")
LOCKDOWN = Path("/sys/kernel/security/lockdown")
_KPROBE_PMU = Path("/sys/bus/event_source/devices/kprobe/type")
_PROBED_FUNCTION = b"commit_creds"  # rarely called; hooks are there, too

# BPF_CALL bpf_get_current_task_btf, BPF_MOV r0 0, BPF_EXIT.
_GETS_TASK = bytes.fromhex("850000009e000000b7000000000000009500000000000000")
# BPF_MOV r1 r10, BPF_ADD r1 -8, BPF_MOV r2 1, BPF_MOV r3 0,
# BPF_CALL bpf_probe_read_kernel, BPF_MOV r0 0, BPF_EXIT.
_READS_KERNEL = bytes.fromhex(
    "bfa100000000000007010000f8ffffffb702000001000000b703000000000000"
    "8500000071000000b7000000000000009500000000000000"
)  # fmt: skip

# The system call perf_event_open, by machine (uname).
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
_PERF_FLAG_FD_CLOEXEC = 8
_PERF_EVENT_IOC_SET_BPF = 0x40042408
_DISABLED = 1


class _EventAttributes(ctypes.Structure):
    """struct perf_event_attr, PERF_ATTR_SIZE_VER1."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
        ("wakeup_events", ctypes.c_uint32),
        ("bp_type", ctypes.c_uint32),
        ("kprobe_func", ctypes.c_char_p),
        ("probe_offset", ctypes.c_uint64),
    )


def has_btf() -> bool:
    """Return whether the kernel describes its own types."""
    return os.access(BTF, os.R_OK)


@functools.cache
def has_kprobes() -> bool:
    """Return whether a program that reads kernel memory attaches to a kprobe.

    Lockdown (confidentiality) refuses that, for one. The probe stays until the process
    ends: the kernel would keep us waiting for RCU grace periods at its removal, and a
    user waits for the first packet.
    """
    try:
        kind = int(_KPROBE_PMU.read_text("ascii"))
        with _loaded(ProgType.KPROBE, _READS_KERNEL) as program_fd:
            _attach(program_fd, kind)
    except OSError:
        return False
    return True


@functools.cache
def classifiers_see_current_task() -> bool:
    """Return whether a classifier may ask for the current task (not in Linux 5.10)."""
    return _loads(ProgType.SCHED_CLS, _GETS_TASK)


@functools.cache
def classifiers_read_kernel() -> bool:
    """Return whether a classifier may read kernel memory (not under lockdown)."""
    return _loads(ProgType.SCHED_CLS, _READS_KERNEL)


def has_ring_buffer() -> bool:
    """Return whether the kernel has the BPF ring buffer (Linux 5.8)."""
    size = os.sysconf("SC_PAGE_SIZE")
    try:
        os.close(
            Map(MapSpec("ring", MapType.RINGBUF, 0, 0, size, 0, 0, 0, "", ""), 0, 1).fd
        )
    except OSError:
        return False
    return True


def lockdown() -> str | None:
    """Return the mode of kernel_lockdown(7); None where the kernel does not say."""
    try:
        modes = LOCKDOWN.read_text(encoding="ascii")
    except OSError:
        return None  # no such security module, or not mounted
    active = re.search(r"\[(\w+)\]", modes)
    return active[1] if active else "none"


def symbols(*names: str) -> dict[str, int]:
    """Return the addresses of those kernel symbols that exist."""
    wanted, found = set(names), {}
    with Path("/proc/kallsyms").open(encoding="ascii", errors="replace") as lines:
        for line in lines:
            address, _kind, name, *_module = line.split()
            if name in wanted:
                found[name] = int(address, 16)
    return found


def _loads(kind: ProgType, instructions: bytes) -> bool:
    try:
        with _loaded(kind, instructions):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def _loaded(kind: ProgType, instructions: bytes) -> Iterator[int]:
    """Load a program for a moment; OSError as bpf(2) reports it."""
    program_fd = progs.load(kind, "feature", instructions)
    try:
        yield program_fd
    finally:
        os.close(program_fd)


def _attach(program_fd: int, kind: int) -> None:
    """Run a program at _PROBED_FUNCTION, until this process ends.

    ``kind`` is the number of the kprobe PMU. OSError as perf_event_open(2) reports it.
    """
    attributes = _EventAttributes(
        type=kind,
        size=ctypes.sizeof(_EventAttributes),
        sample_period=1,
        flags=_DISABLED,
        wakeup_events=1,
        kprobe_func=_PROBED_FUNCTION,
    )
    event_fd = _perf_event_open(attributes)
    try:
        ioctl(event_fd, _PERF_EVENT_IOC_SET_BPF, program_fd)
    except OSError:
        os.close(event_fd)
        raise


def _perf_event_open(attributes: _EventAttributes) -> int:
    number = _PERF_EVENT_OPEN[os.uname().machine]
    every_process, cpu, no_group = -1, 0, -1
    place = (every_process, cpu, no_group, _PERF_FLAG_FD_CLOEXEC)
    return libc.call("syscall", number, ctypes.byref(attributes), *place)
