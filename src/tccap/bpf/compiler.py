"""Compiles C to an Object with bcc, or returns what was compiled before.

The compiler takes longer than all the rest of a capture's start. Its results are
valid for the same text, compiler and kernel, and are kept where only root can write.
"""

import atexit
import ctypes
import hashlib
import importlib.util
import os
from pathlib import Path

from tccap.bpf import bcclib, uapi
from tccap.bpf.bcclib import bcc
from tccap.bpf.objects import MapSpec, Object, with_maps
from tccap.bpf.syscall import bpf
from tccap.bpf.uapi import Command, MapType
from tccap.host.rootcache import RootCache
from tccap.paths import BPF_DIR

FORMAT = 2  # part of the cache's file names: raise it when Object or _FLAGS changes
_CACHE = RootCache("bpf", at_most=64)
# bcc optimises clang's output, so clang need not: that halves the time. As in the
# kernel, memory may be read as another type than it is declared to be.
_FLAGS = ("-Xclang", "-disable-llvm-passes", "-fno-strict-aliasing")


def compiled(text: str, defines: dict[str, int | str]) -> Object:
    """Return the programs of a C text, compiled now or before.

    ``defines`` become -D flags. TccapError without bcc, CompileError if it fails.
    """
    flags = [f"-D{name}={value}" for name, value in defines.items()]
    name = _name(text, flags)
    return _CACHE.get(name, Object.from_bytes) or _compile(name, text, flags)


def _compile(name: str, text: str, flags: list[str]) -> Object:
    program = bcclib.program(text, f"-I{BPF_DIR}", *_FLAGS, *flags)
    try:
        made = _extracted(program.module)
    finally:
        program.cleanup()
        atexit.unregister(program.cleanup)
    _CACHE.keep(name, made.to_bytes())
    return made


def _name(text: str, flags: list[str]) -> str:
    """Return a hash of everything that the result depends on."""
    kernel = os.uname()
    parts = (
        *(FORMAT, _bcc_version(), kernel.release, kernel.version, kernel.machine),
        *(text, flags, _headers()),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _bcc_version() -> str:
    """Return bcc's version without importing it, which is slow."""
    package = importlib.util.find_spec("bcc")
    if not package or not package.origin:
        return str(bcc().__version__)  # or TccapError, which says what to install
    return Path(package.origin).with_name("version.py").read_text("ascii")


def _headers() -> list[tuple[str, bytes]]:
    files = sorted(Path(BPF_DIR).rglob("*.h"))
    return [(str(file), file.read_bytes()) for file in files]


def _extracted(module: int) -> Object:
    """Return the programs and maps of a module of bcc's."""
    lib = bcc().lib
    # The package declares no types for functions that it does not call itself.
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
        next((_btf(i.btf_id) for i in infos if _needs_btf(i)), b""),
    )


def _needs_btf(info: uapi.MapInfo) -> bool:
    return bool(info.type == MapType.SK_STORAGE)


def _spec(table: bytes, info: uapi.MapInfo, lib: ctypes.CDLL, module: int) -> MapSpec:
    typed = _needs_btf(info)
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


def _map_info(fd: int) -> uapi.MapInfo:
    info = uapi.MapInfo()
    _get_info(fd, info)
    return info


def _btf(btf_id: int) -> bytes:
    """Return type information that was loaded into the kernel."""
    fd = bpf(Command.BTF_GET_FD_BY_ID, uapi.GetFdById(id=btf_id))
    try:
        info = uapi.BtfInfo()
        _get_info(fd, info)
        raw = ctypes.create_string_buffer(info.btf_size)
        info.btf = ctypes.addressof(raw)
        _get_info(fd, info)
    finally:
        os.close(fd)
    return raw.raw


def _get_info(fd: int, info: ctypes.Structure) -> None:
    request = uapi.ObjGetInfoByFd(
        bpf_fd=fd, info_len=ctypes.sizeof(info), info=ctypes.addressof(info)
    )
    bpf(Command.OBJ_GET_INFO_BY_FD, request)
