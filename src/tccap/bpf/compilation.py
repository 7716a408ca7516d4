"""The compiler's process: a C text on stdin, an Object on stdout.

The text is tccap's own, but clang and LLVM are large. So they have limits, and no
rights but to make the maps that bcc makes while it compiles.
"""

import ctypes
import json
import os
import resource
import stat
import sys
from pathlib import Path

from tccap.bpf import bcclib, uapi
from tccap.bpf.bcclib import CompileError, bcc
from tccap.bpf.objects import MapSpec, Object, with_maps
from tccap.bpf.syscall import bpf
from tccap.bpf.uapi import Command, MapType
from tccap.host import sandbox
from tccap.host.seccomp import REFUSE, Only
from tccap.paths import BPF_DIR

# The exit status for a text that is not right. LLVM itself fails with 1 or a signal.
REFUSED = 2
_CPU_S = 300  # tccap's own texts take 2; emulated machines are slow
_MEMORY_LEN = 1 << 30  # address space; LLVM itself has some 300 MiB
# bcc optimises clang's output, so clang need not: that halves the time. As in the
# kernel, memory may be read as another type than it is declared to be.
FLAGS = ("-Xclang", "-disable-llvm-passes", "-fno-strict-aliasing")

# linux/capability.h. bcc makes maps.
_DAC_READ_SEARCH, _BPF = 2, 39
_COMMANDS = (Command.MAP_CREATE, Command.OBJ_GET_INFO_BY_FD, Command.BTF_LOAD)
_FILES_MAX = 256
_BTF_FILE = "anon_inode:btf"  # btf_new_fd (kernel/bpf/btf.c)
_RULES = sandbox.READING._replace(
    only={
        **sandbox.READING.only,
        "bpf": Only(0, tuple(map(int, _COMMANDS)), otherwise=REFUSE),
    },
    killed=sandbox.READING.killed - {"bpf"},
)


def main() -> int:
    """Compile what is on stdin; return the exit status."""
    text, flags = json.load(sys.stdin)
    try:
        answer, status = _compiled(text, flags).decode("ascii"), 0
    except MemoryError:
        raise  # as LLVM ends
    except Exception as error:  # noqa: BLE001  # the engine shows it
        answer, status = str(error), REFUSED
    sys.stdout.write(answer)
    return status


def _compiled(text: str, flags: list[str]) -> bytes:
    bcc()  # loaded while we may
    _confine()
    program = bcclib.program(text, f"-I{BPF_DIR}", *FLAGS, *flags)
    return _extracted(program.module).to_bytes()


def _confine() -> None:
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: _CPU_S,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_NOFILE: _FILES_MAX,
        resource.RLIMIT_AS: _MEMORY_LEN,
    }
    keep = {_BPF}
    if not _is_public(Path(BPF_DIR)):
        keep.add(_DAC_READ_SEARCH)  # a checkout in somebody's home directory
    sandbox.enter(None, limits, _RULES, keep)


def _is_public(folder: Path) -> bool:
    """Return whether every user can read the files of a folder."""
    above = all(each.stat().st_mode & stat.S_IXOTH for each in folder.parents)
    return above and bool(folder.stat().st_mode & stat.S_IXOTH)


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
    specs = [_spec(*each, lib, module) for each in zip(tables, infos, strict=True)]
    described = zip(infos, specs, strict=True)
    return Object(
        tuple(specs),
        programs,
        next(
            (_btf(info.btf_id) for info, spec in described if spec.btf_value_type), b""
        ),
    )


def _needs_btf(info: uapi.MapInfo, leaf: str) -> bool:
    """Return whether the kernel takes a map with its type information only."""
    return bool(info.type == MapType.SK_STORAGE) or "bpf_spin_lock" in leaf


def _spec(table: bytes, info: uapi.MapInfo, lib: ctypes.CDLL, module: int) -> MapSpec:
    leaf = lib.bpf_table_leaf_desc(module, table).decode()
    typed = _needs_btf(info, leaf)
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
        leaf,
    )


def _map_info(fd: int) -> uapi.MapInfo:
    info = uapi.MapInfo()
    _get_info(fd, info)
    return info


def _btf(btf_id: int) -> bytes:
    """Return type information that bcc has loaded into the kernel.

    bcc keeps its descriptor open. Asking for another one by the id would take
    CAP_SYS_ADMIN, which a container seldom has.
    """
    for fd in filter(_is_btf, range(_FILES_MAX)):
        info = uapi.BtfInfo()
        _get_info(fd, info)
        if info.id == btf_id:
            raw = ctypes.create_string_buffer(info.btf_size)
            wanted = uapi.BtfInfo(btf=ctypes.addressof(raw), btf_size=info.btf_size)
            _get_info(fd, wanted)
            return raw.raw
    raise CompileError("bcc has not kept the type information of a map.")


def _is_btf(fd: int) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}") == _BTF_FILE  # noqa: PTH115
    except OSError:
        return False


def _get_info(fd: int, info: ctypes.Structure) -> None:
    request = uapi.ObjGetInfoByFd(
        bpf_fd=fd, info_len=ctypes.sizeof(info), info=ctypes.addressof(info)
    )
    bpf(Command.OBJ_GET_INFO_BY_FD, request)
