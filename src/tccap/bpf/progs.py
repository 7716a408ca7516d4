"""Programs in the kernel: loaded, and attached where bpf(2) alone can do it."""

import contextlib
import ctypes
import errno
import os

from tccap.bpf import uapi
from tccap.bpf.objects import INSTRUCTION
from tccap.bpf.syscall import bpf
from tccap.bpf.uapi import AttachType, Command, ProgType

_LOG_LEN = 1 << 24  # a longer log is cut off at its end, or refused with ENOSPC
_LOG_KEPT_LEN = 4000
_TRIES = 5  # as in libbpf


class RefusedError(OSError):
    """The verifier rejects a program; ``log`` is the end of its log."""

    def __init__(self, error: OSError, log: str) -> None:
        super().__init__(error.errno, error.strerror)
        self.log = log


def load(
    kind: ProgType,
    name: str,
    instructions: bytes,
    attach_type: AttachType = AttachType.UNSPEC,
    attach_btf_id: int = 0,
) -> int:
    """Load a program and return its descriptor.

    For TRACING programs ``attach_btf_id`` is the id, in the kernel's BTF, of the
    function or type that they attach to. RefusedError if the verifier has logged a
    reason, else OSError as bpf(2) reports it.
    """
    attributes = uapi.ProgLoad(
        prog_type=kind,
        insn_cnt=len(instructions) // INSTRUCTION.size,
        insns=instructions,
        license=b"GPL",
        prog_name=name.encode("ascii")[: uapi.NAME_LEN_MAX],
        expected_attach_type=attach_type,
        attach_btf_id=attach_btf_id,
    )
    try:
        return _loaded(attributes)
    except OSError as error:
        if error.errno == errno.E2BIG:
            raise  # its log would take as long again, and says nothing more
        raise _explained(error, attributes) from None


def _loaded(attributes: uapi.ProgLoad) -> int:
    """Load; a signal that comes meanwhile makes the verifier give up with EAGAIN."""
    for _ in range(_TRIES - 1):
        with contextlib.suppress(BlockingIOError):
            return bpf(Command.PROG_LOAD, attributes)
    return bpf(Command.PROG_LOAD, attributes)


def _explained(error: OSError, attributes: uapi.ProgLoad) -> OSError:
    """Load again with the verifier's log, which would slow down the first attempt."""
    log = ctypes.create_string_buffer(_LOG_LEN)
    attributes.log_level, attributes.log_size = 1, _LOG_LEN
    attributes.log_buf = ctypes.addressof(log)
    with contextlib.suppress(OSError):
        os.close(bpf(Command.PROG_LOAD, attributes))
    if not log.value:
        return error
    return RefusedError(error, log.value[-_LOG_KEPT_LEN:].decode(errors="replace"))


def open_raw_tracepoint(program_fd: int, name: str | None = None) -> int:
    """Attach a program to a raw tracepoint and return a descriptor.

    TRACING programs were loaded for one place and need no ``name``. Closing the
    descriptor, or the end of the process, detaches. OSError as bpf(2) reports it.
    """
    attributes = uapi.RawTracepointOpen(
        name=name.encode("ascii") if name else None, prog_fd=program_fd
    )
    return bpf(Command.RAW_TRACEPOINT_OPEN, attributes)


def link_iterator(program_fd: int) -> int:
    """Link an iterator (TRACE_ITER) and return the link, for `start_iterator`."""
    attributes = uapi.LinkCreateIter(
        prog_fd=program_fd, attach_type=AttachType.TRACE_ITER
    )
    return bpf(Command.LINK_CREATE, attributes)


def start_iterator(link_fd: int) -> int:
    """Return a descriptor; reading it to its end runs the iterator once."""
    return bpf(Command.ITER_CREATE, uapi.IterCreate(link_fd=link_fd))
