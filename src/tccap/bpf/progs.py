"""Programs in the kernel: loaded, and attached where bpf(2) alone can do it."""

import contextlib
import ctypes
import os

from tccap.bpf.syscall import bpf

# enum bpf_prog_type
KPROBE, SCHED_CLS, RAW_TRACEPOINT, TRACING = 2, 3, 17, 26
# enum bpf_attach_type of TRACING: where BTF describes the arguments
TRACE_RAW_TP, TRACE_FENTRY, TRACE_ITER = 23, 24, 28
# enum bpf_cmd
_PROG_LOAD, _RAW_TRACEPOINT_OPEN, _LINK_CREATE, _ITER_CREATE = 5, 17, 28, 33
_INSTRUCTION_LEN = 8
_NAME_LEN = 15
_LOG_LEN = 1 << 24  # what is longer is cut off at its end, or refused
_TOLD_LEN = 4000


class _ProgLoad(ctypes.Structure):
    _fields_ = (
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_char_p),
        ("license", ctypes.c_char_p),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_uint64),
        ("kern_version", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
        ("prog_name", ctypes.c_char * (_NAME_LEN + 1)),
        ("prog_ifindex", ctypes.c_uint32),
        ("expected_attach_type", ctypes.c_uint32),
        ("debug_information", ctypes.c_uint32 * 9),
        ("attach_btf_id", ctypes.c_uint32),
    )


class _RawTracepointOpen(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("prog_fd", ctypes.c_uint64))


class _LinkCreate(ctypes.Structure):
    _fields_ = (
        ("prog_fd", ctypes.c_uint32),
        ("target_fd", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
    )


class _IterCreate(ctypes.Structure):
    _fields_ = (("link_fd", ctypes.c_uint32), ("flags", ctypes.c_uint32))


class RefusedError(OSError):
    """The verifier does not take a program; ``told`` is the end of what it says."""

    told = ""


def load(
    kind: int,
    name: str,
    instructions: bytes,
    attach_type: int = 0,
    attach_btf_id: int = 0,
) -> int:
    """Load a program; return its descriptor.

    ``kind`` is its enum bpf_prog_type. ``attach_btf_id`` is, for TRACING, the number
    that the kernel's BTF has for the function or type that it is about. OSError as
    bpf(2) reports it: RefusedError where the verifier has something to say.
    """
    attributes = _ProgLoad(
        prog_type=kind,
        insn_cnt=len(instructions) // _INSTRUCTION_LEN,
        insns=instructions,
        license=b"GPL",
        prog_name=name.encode("ascii")[:_NAME_LEN],
        expected_attach_type=attach_type,
        attach_btf_id=attach_btf_id,
    )
    try:
        return bpf(_PROG_LOAD, attributes)
    except OSError as error:
        raise _explained(error, attributes) from None


def _explained(error: OSError, attributes: _ProgLoad) -> OSError:
    """Ask again, for the verifier's words; the first time is the fast one."""
    log = ctypes.create_string_buffer(_LOG_LEN)
    attributes.log_level, attributes.log_size = 1, _LOG_LEN
    attributes.log_buf = ctypes.addressof(log)
    with contextlib.suppress(OSError):
        os.close(bpf(_PROG_LOAD, attributes))
    if not log.value:
        return error
    refused = RefusedError(error.errno, error.strerror)
    refused.told = log.value[-_TOLD_LEN:].decode(errors="replace")
    return refused


def open_raw_tracepoint(program_fd: int, name: str | None = None) -> int:
    """Run a program whenever a raw tracepoint is passed; return a descriptor.

    A TRACING program, which knows where it belongs, has no ``name``. Closing the
    descriptor, or dying, detaches. OSError as bpf(2) reports it.
    """
    place = name.encode("ascii") if name else None
    return bpf(_RAW_TRACEPOINT_OPEN, _RawTracepointOpen(name=place, prog_fd=program_fd))


def link_iterator(program_fd: int) -> int:
    """Return the link of an iterator (TRACE_ITER), from which it is started."""
    return bpf(_LINK_CREATE, _LinkCreate(prog_fd=program_fd, attach_type=TRACE_ITER))


def start_iterator(link_fd: int) -> int:
    """Return a descriptor: reading it to its end runs the iterator once."""
    return bpf(_ITER_CREATE, _IterCreate(link_fd=link_fd))
