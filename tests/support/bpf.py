"""Asks the kernel which BPF programs and maps there are (bpf(2), by number)."""

import contextlib
import ctypes
import errno
import os
import re
from pathlib import Path
from typing import NamedTuple

from tccap.bpf.syscall import bpf
from tccap.bpf.uapi import (
    AttachType,
    Command,
    GetFdById,
    MapElem,
    MapInfo,
    MapType,
    ObjGetInfoByFd,
)

TCX = {"in": AttachType.TCX_INGRESS, "out": AttachType.TCX_EGRESS}

_KEYED = MapType.HASH, MapType.LRU_HASH, MapType.LPM_TRIE


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
    """Return whether the kernel understands a question about TCX."""
    try:
        tcx_programs(1, "in")
    except OSError as error:
        if error.errno == errno.EINVAL:
            return False
        raise
    return True


def tcx_programs(ifindex: int, direction: str) -> list[int]:
    """Return the ids of the programs on a device of this network namespace."""
    ids = (ctypes.c_uint32 * 64)()
    query = _Query(
        target_ifindex=ifindex,
        attach_type=TCX[direction],
        prog_ids=ctypes.addressof(ids),
        prog_cnt=len(ids),
    )
    bpf(Command.PROG_QUERY, query)
    return list(ids[: query.prog_cnt])


def program_exists(program_id: int) -> bool:
    """Return whether the kernel still has the program."""
    try:
        os.close(bpf(Command.PROG_GET_FD_BY_ID, GetFdById(id=program_id)))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return True


def programs_of(pid: int) -> set[int]:
    """Return the ids of the programs that a process holds, by a link or directly."""
    found = set()
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed in the meantime
            fields = _fields(path)
            if "prog_id" in fields:
                found.add(fields["prog_id"])
    return found


def entries_of(pid: int) -> dict[str, int]:
    """Return how many entries each map that a process holds has, by its name."""
    return dict(map(_entries, _keyed_maps(pid)))


def _keyed_maps(pid: int) -> set[int]:
    found = set()
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):
            fields = _fields(path)
            if fields.get("map_type") in _KEYED:
                found.add(fields["map_id"])
    return found


def _entries(map_id: int) -> tuple[str, int]:
    fd = bpf(Command.MAP_GET_FD_BY_ID, GetFdById(id=map_id))
    try:
        about = MapInfo()
        size, address = ctypes.sizeof(about), ctypes.addressof(about)
        bpf(Command.OBJ_GET_INFO_BY_FD, ObjGetInfoByFd(fd, size, address))
        return about.name.decode(), len(_keys(fd, about.key_size))
    finally:
        os.close(fd)


def _keys(fd: int, size: int) -> set[bytes]:
    """Return all keys; if the latest one has gone, the kernel starts anew."""
    key, following = (ctypes.create_string_buffer(size) for _ in range(2))
    found: set[bytes] = set()
    request = MapElem(map_fd=fd, value=ctypes.addressof(following))
    with contextlib.suppress(FileNotFoundError):  # the end
        while True:
            bpf(Command.MAP_GET_NEXT_KEY, request)
            found.add(following.raw)
            key.raw = following.raw
            request.key = ctypes.addressof(key)
    return found


class Statistics(NamedTuple):
    """A program; its time is counted while kernel.bpf_stats_enabled is set.

    ``verified`` is how many instructions the verifier has followed (0: before 5.16).
    """

    number: int
    kind: int
    runs: int
    run_ns: int
    verified: int


def statistics_of(pid: int) -> set[Statistics]:
    """Return the programs that a process holds (bpf_prog_show_fdinfo)."""
    return {_statistics(program_id) for program_id in programs_of(pid)}


def _statistics(program_id: int) -> Statistics:
    fd = bpf(Command.PROG_GET_FD_BY_ID, GetFdById(id=program_id))
    try:
        fields = _fields(Path(f"/proc/self/fdinfo/{fd}"))
    finally:
        os.close(fd)
    names = ("prog_id", "prog_type", "run_cnt", "run_time_ns", "verified_insns")
    return Statistics(*(fields.get(name, 0) for name in names))


def _fields(path: Path) -> dict[str, int]:
    """Return the numbers of a file in fdinfo."""
    lines = re.findall(r"^(\w+):\t(\d+)$", path.read_text(), re.MULTILINE)
    return {name: int(number) for name, number in lines}
