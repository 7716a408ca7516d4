"""From C to an Object, by bcc; and from what was compiled before, without it.

The compiler takes longer than all the rest of a capture's start. Its answers hold for
the same text, compiler and kernel, and are kept where only root can write.
"""

import atexit
import ctypes
import hashlib
import importlib.util
import os
from pathlib import Path

from tccap.bpf import bcclib
from tccap.bpf.bcclib import bcc
from tccap.bpf.objects import MapSpec, Object, with_maps
from tccap.bpf.syscall import bpf
from tccap.host.rootcache import RootCache
from tccap.paths import BPF_DIR

FORMAT = 2  # part of the names in the cache: raise it when Object or _FLAGS changes
_KEPT = RootCache("bpf", at_most=64)
# bcc optimises what clang gives it, so that clang need not: half the time. As in the
# kernel, bytes may be read as what they are not declared to be.
_FLAGS = ("-Xclang", "-disable-llvm-passes", "-fno-strict-aliasing")

# enum bpf_cmd
_OBJ_GET_INFO_BY_FD, _BTF_GET_FD_BY_ID = 15, 19
_NEEDS_BTF = 24  # BPF_MAP_TYPE_SK_STORAGE


class _MapInfo(ctypes.Structure):
    """The beginning of struct bpf_map_info."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("name", ctypes.c_char * 16),
        ("ifindex", ctypes.c_uint32),
        ("btf_vmlinux_value_type_id", ctypes.c_uint32),
        ("netns_dev", ctypes.c_uint64),
        ("netns_ino", ctypes.c_uint64),
        ("btf_id", ctypes.c_uint32),
        ("btf_key_type_id", ctypes.c_uint32),
        ("btf_value_type_id", ctypes.c_uint32),
        ("zero", ctypes.c_uint32),
    )


class _BtfInfo(ctypes.Structure):
    """The beginning of struct bpf_btf_info."""

    _fields_ = (
        ("btf", ctypes.c_uint64),
        ("btf_size", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
    )


class _GetInfo(ctypes.Structure):
    _fields_ = (
        ("bpf_fd", ctypes.c_uint32),
        ("info_len", ctypes.c_uint32),
        ("info", ctypes.c_uint64),
    )


class _GetFd(ctypes.Structure):
    _fields_ = (
        ("id", ctypes.c_uint32),
        ("next_id", ctypes.c_uint32),
        ("open_flags", ctypes.c_uint32),
    )


def compiled(text: str, defines: dict[str, int | str]) -> Object:
    """Return the programs of a C text, compiled now or before.

    TccapError without bcc, CompileError where it fails.
    """
    flags = [f"-D{name}={value}" for name, value in defines.items()]
    name = _name(text, flags)
    return _KEPT.get(name, Object.from_bytes) or _made(name, text, flags)


def _made(name: str, text: str, flags: list[str]) -> Object:
    program = bcclib.program(text, f"-I{BPF_DIR}", *_FLAGS, *flags)
    try:
        made = _harvest(program.module)
    finally:
        program.cleanup()
        atexit.unregister(program.cleanup)
    _KEPT.keep(name, made.to_bytes())
    return made


def _name(text: str, flags: list[str]) -> str:
    """Return a name for all that a result depends on."""
    kernel = os.uname()
    parts = (
        *(FORMAT, _bcc_version(), kernel.release, kernel.version, kernel.machine),
        *(text, flags, _headers()),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _bcc_version() -> str:
    """Return the version without the import, which is slow."""
    package = importlib.util.find_spec("bcc")
    if not package or not package.origin:
        return str(bcc().__version__)  # or the sentence that says what to do
    return Path(package.origin).with_name("version.py").read_text("ascii")


def _headers() -> list[tuple[str, bytes]]:
    files = sorted(Path(BPF_DIR).rglob("*.h"))
    return [(str(file), file.read_bytes()) for file in files]


def _harvest(module: int) -> Object:
    """Take out of bcc's module what it has compiled."""
    lib = bcc().lib
    # Which the package itself does not call.
    lib.bpf_num_tables.argtypes = [ctypes.c_void_p]
    lib.bpf_table_name.restype = ctypes.c_char_p
    lib.bpf_table_name.argtypes = [ctypes.c_void_p, ctypes.c_ulonglong]
    tables = [lib.bpf_table_name(module, n) for n in range(lib.bpf_num_tables(module))]
    fds = [lib.bpf_table_fd(module, table) for table in tables]
    infos = [_map_info(fd) for fd in fds]
    places = {fd: place for place, fd in enumerate(fds)}
    programs = {}
    for n in range(lib.bpf_num_functions(module)):
        name = lib.bpf_function_name(module, n)
        start = lib.bpf_function_start(module, name)
        code = ctypes.string_at(start, lib.bpf_function_size(module, name))
        programs[name.decode()] = with_maps(code, places)
    return Object(
        tuple(
            _spec(table, info, lib, module)
            for table, info in zip(tables, infos, strict=True)
        ),
        programs,
        next((_btf(i.btf_id) for i in infos if i.type == _NEEDS_BTF), b""),
    )


def _spec(table: bytes, info: _MapInfo, lib: ctypes.CDLL, module: int) -> MapSpec:
    typed = info.type == _NEEDS_BTF
    return MapSpec(
        table.decode(),
        info.type,
        info.key_size,
        info.value_size,
        info.max_entries,
        info.map_flags,
        info.btf_key_type_id if typed else 0,
        info.btf_value_type_id if typed else 0,
        lib.bpf_table_key_desc(module, table).decode(),
        lib.bpf_table_leaf_desc(module, table).decode(),
    )


def _map_info(fd: int) -> _MapInfo:
    info = _MapInfo()
    _get_info(fd, info)
    return info


def _btf(number: int) -> bytes:
    """Return type information that the kernel holds."""
    fd = bpf(_BTF_GET_FD_BY_ID, _GetFd(id=number))
    try:
        info = _BtfInfo()
        _get_info(fd, info)
        raw = ctypes.create_string_buffer(info.btf_size)
        info.btf = ctypes.addressof(raw)
        _get_info(fd, info)
    finally:
        os.close(fd)
    return raw.raw


def _get_info(fd: int, info: ctypes.Structure) -> None:
    request = _GetInfo(
        bpf_fd=fd, info_len=ctypes.sizeof(info), info=ctypes.addressof(info)
    )
    bpf(_OBJ_GET_INFO_BY_FD, request)
