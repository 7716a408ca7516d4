"""Asks the kernel which BPF programs there are (bpf(2), by number)."""

import contextlib
import ctypes
import errno
import os
import re
from pathlib import Path
from typing import NamedTuple

from tccap.bpfcall import bpf

BPF_PROG_GET_FD_BY_ID = 13
BPF_PROG_QUERY = 16
# enum bpf_prog_type
KPROBE, SCHED_CLS, RAW_TRACEPOINT = 2, 3, 17
TCX = {"in": 46, "out": 47}  # BPF_TCX_INGRESS, BPF_TCX_EGRESS


class _Query(ctypes.Structure):
    _fields_ = (
        ("target_ifindex", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("query_flags", ctypes.c_uint32),
        ("attach_flags", ctypes.c_uint32),
        ("prog_ids", ctypes.c_uint64),
        ("prog_cnt", ctypes.c_uint32),
        ("unused", ctypes.c_uint32),
        ("more", ctypes.c_uint64 * 4),
    )


def has_tcx() -> bool:
    """Tell whether the kernel understands a question about TCX."""
    try:
        tcx_programs(1, "in")
    except OSError as error:
        if error.errno == errno.EINVAL:
            return False
        raise
    return True


def tcx_programs(ifindex: int, side: str) -> list[int]:
    """Return the ids of the programs on a device of this network namespace."""
    ids = (ctypes.c_uint32 * 64)()
    query = _Query(
        target_ifindex=ifindex,
        attach_type=TCX[side],
        prog_ids=ctypes.addressof(ids),
        prog_cnt=len(ids),
    )
    bpf(BPF_PROG_QUERY, query)
    return list(ids[: query.prog_cnt])


def program_exists(program_id: int) -> bool:
    """Tell whether the kernel still has the program."""
    try:
        os.close(bpf(BPF_PROG_GET_FD_BY_ID, (ctypes.c_uint32 * 3)(program_id)))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return True


def programs_of(pid: int) -> set[int]:
    """Return the ids of the programs that a process holds."""
    return {program.number for program in statistics_of(pid)}


class Statistics(NamedTuple):
    """A program; its time is counted while kernel.bpf_stats_enabled is set."""

    number: int
    kind: int
    runs: int
    run_ns: int


def statistics_of(pid: int) -> set[Statistics]:
    """Return the programs that a process holds (bpf_prog_show_fdinfo)."""
    found = set()
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since
            told = dict(re.findall(r"^(\w+):\t(\d+)$", path.read_text(), re.MULTILINE))
            if "prog_type" in told:  # not a link
                names = ("prog_id", "prog_type", "run_cnt", "run_time_ns")
                found.add(Statistics(*(int(told[name]) for name in names)))
    return found
