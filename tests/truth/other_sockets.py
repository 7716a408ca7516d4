"""BPF programs of others that decide which socket receives."""

import ctypes
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from support.netns import Namespace
from tccap.bpf.assembler import ADD, ALU64, JEQ, JMP, JNE, MOV, Assembler, Label
from tccap.bpf.objects import INSTRUCTION
from tccap.bpf.syscall import bpf
from tccap.bpf.uapi import (
    LD_IMM64,
    PSEUDO_MAP_FD,
    Command,
    LinkCreateIter,
    MapCreate,
    MapElem,
    ProgLoad,
)

# include/uapi/linux/bpf.h
SOCKMAP, SK_LOOKUP, SK_LOOKUP_ATTACHED = 15, 30, 36
LOOKUP_ELEM, SK_RELEASE, SK_ASSIGN = 1, 86, 124
LOCAL_PORT_AT = 60  # in struct bpf_sk_lookup


class SocketMap:
    """A map of one socket."""

    def __init__(self) -> None:
        # Before Linux 5.11 the maps of a capture count as root's locked memory, too.
        # Where this process may not raise the limit, the kernel is newer.
        no_limit = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        with suppress(ValueError):
            resource.setrlimit(resource.RLIMIT_MEMLOCK, no_limit)
        made = MapCreate(map_type=SOCKMAP, key_size=4, value_size=4, max_entries=1)
        self.fd = bpf(Command.MAP_CREATE, made)

    def put(self, sock: socket.socket) -> None:
        """Enter a socket of this process."""
        key, value = ctypes.c_uint32(0), ctypes.c_uint32(sock.fileno())
        entry = MapElem(
            map_fd=self.fd, key=ctypes.addressof(key), value=ctypes.addressof(value)
        )
        bpf(Command.MAP_UPDATE_ELEM, entry)


@contextmanager
def steering(space: Namespace, port: int, chosen: SocketMap) -> Iterator[bool]:
    """Have that socket get what comes to a port; False where that is impossible."""
    try:
        prog_fd = _loaded(_steering_code(port, chosen))
    except OSError:
        yield False
        return
    space_fd = os.open(f"/run/netns/{space.name}", os.O_RDONLY)
    attach = LinkCreateIter(
        prog_fd=prog_fd, target_fd=space_fd, attach_type=SK_LOOKUP_ATTACHED
    )
    link_fd = bpf(Command.LINK_CREATE, attach)
    try:
        yield True
    finally:
        for fd in (link_fd, space_fd, prog_fd, chosen.fd):
            os.close(fd)


def _loaded(code: bytes) -> int:
    load = ProgLoad(
        prog_type=SK_LOOKUP,
        insn_cnt=len(code) // INSTRUCTION.size,
        insns=code,
        license=b"GPL",
        expected_attach_type=SK_LOOKUP_ATTACHED,
    )
    return bpf(Command.PROG_LOAD, load)


def _steering_code(port: int, chosen: SocketMap) -> bytes:
    code, ends = Assembler(), Label()
    code.alu_register(MOV, 6, 1, ALU64)
    code.load(4, 2, 1, LOCAL_PORT_AT)
    code.jump_if(JNE, 2, port, ends)
    _look_up(code, chosen)
    code.jump_if(JEQ, 0, 0, ends, JMP)
    code.alu_register(MOV, 7, 0, ALU64)
    code.alu_register(MOV, 1, 6, ALU64)
    code.alu_register(MOV, 2, 7, ALU64)
    code.alu(MOV, 3, 0, ALU64)
    code.call(SK_ASSIGN)
    code.alu_register(MOV, 1, 7, ALU64)
    code.call(SK_RELEASE)
    code.bind(ends)
    code.alu(MOV, 0, 1, ALU64)
    code.exit()
    return code.code()


def _look_up(code: Assembler, chosen: SocketMap) -> None:
    """Append: register 0 = the socket."""
    code.alu(MOV, 2, 0)
    code.store(4, 10, -4, 2)
    code.alu_register(MOV, 2, 10, ALU64)
    code.alu(ADD, 2, -4, ALU64)
    code._add(LD_IMM64, 1 | PSEUDO_MAP_FD << 4, 0, chosen.fd)
    code._insns.append([0, 0, 0, 0])
    code.call(LOOKUP_ELEM)
