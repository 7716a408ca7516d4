"""libpcap's filter compiler, through ctypes.

Needs no privileges: the handle is from pcap_open_dead(3PCAP). A child process
compiles, for two reasons. libpcap cannot be given a time limit: it may look up a name
at a name server that does not answer, and its optimiser takes 12 seconds for 500 hosts.
And the text is a user's, so libpcap and the resolver must not read it with root's
rights: the child enters its sandbox (host/sandbox.py) before libpcap is loaded. A
filter that makes libpcap crash ends only the child.
"""

import ctypes
import functools
import mmap
import os
import resource
import select
import signal
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NoReturn

from tccap.filter import chunks, language
from tccap.filter.cbpf import FilterError, Insn, Program
from tccap.host import descriptors, sandbox
from tccap.host.sandbox import User

# Looking up names takes time, but nobody waits longer without a message.
DEADLINE_S: Final = 3.0
DEADLINE_S_PER_BYTE: Final = 0.002
# libpcap's time may grow with the square of the text; 500 hosts are 10 kB.
# The optimiser's time grows with the cube: 10 ms here, 12 s at fifteen times
# as many. Only tccap's own passes simplify longer programs.
MAX_OPTIMISED_INSNS: Final = 1500

# The child may be stopped by the user that it became, and its timer with it.
_GRACE_S: Final = 1.0
_MEMORY_LEN: Final = 512 << 20  # in addition to what the parent has mapped
_ANSWERS_LEN_MAX: Final = 32 << 20
_READ_LEN: Final = 1 << 16
_NO_SANDBOX: Final = (
    "Capture filters need a kernel that lets a process give up its rights (seccomp)"
)
_OPEN_FILES: Final = 64
_TOO_SLOW: Final = (signal.SIGALRM, signal.SIGXCPU)

# LINKTYPE_RAW is DLT_RAW, which has another number (pcap/dlt.h).
_DLT: Final = {101: 12}
# An accepting program returns it: any number but 0 does.
_SNAPLEN: Final = 262144
_NETMASK_UNKNOWN: Final = 0xFFFFFFFF
_REJECTS_ALL: Final = b"expression rejects all packets"
# The first byte of the child's answer: a program follows, a message,
# or the program of a part (chunks.py).
_PROGRAM: Final = b"P"
_MESSAGE: Final = b"E"
_PART: Final = b"C"
_NOTHING: Final = b""
_ANSWER_HEAD: Final = 5
# `struct bpf_insn`, pcap/bpf.h.
_INSN: Final = struct.Struct("=HBBI")


class _Insn(ctypes.Structure):
    """`struct bpf_insn`, pcap/bpf.h."""

    _fields_ = (
        ("code", ctypes.c_ushort),
        ("jt", ctypes.c_ubyte),
        ("jf", ctypes.c_ubyte),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    """`struct bpf_program`, pcap/bpf.h."""

    _fields_ = (("length", ctypes.c_uint), ("insns", ctypes.POINTER(_Insn)))


def compile_filter(
    expression: str,
    linktype: int,
    netmask: int | None = None,
    *,
    user: User | None = None,
    deadline_s: float | None = None,
) -> Program:
    """Compile a filter expression (pcap-filter(7)).

    `linktype` is a LINKTYPE_ number. `netmask` is a number of 32 bits, whose most
    significant byte is the address's first; libpcap refuses `ip broadcast` without it.
    Root compiles as `user`, by default as one that does not exist. Raises FilterError
    with libpcap's own message, or if the text cannot be given to libpcap, or if the
    deadline has passed (by default some seconds, more for a long text).
    """
    text = language.encode(expression)
    parts = [part.encode() for part in chunks.chunks(expression)]
    wait_s = deadline_s or DEADLINE_S + len(text) * DEADLINE_S_PER_BYTE
    mask = _NETMASK_UNKNOWN if netmask is None else netmask
    answers, status = _in_child(
        lambda: _compilations(text, parts, linktype, mask), user, wait_s
    )
    kind, payload = answers[-1] if answers else (_NOTHING, b"")
    if kind == _NOTHING or (kind == _PART and len(answers) < len(parts)):
        raise FilterError(_unanswered(status, wait_s))
    if kind == _MESSAGE:
        raise FilterError(payload.decode(errors="replace").strip())
    if kind == _PROGRAM:
        return _program(payload)
    return chunks.join(expression, [_program(payload) for _, payload in answers])


def _program(payload: bytes) -> Program:
    return tuple(Insn(*fields) for fields in _INSN.iter_unpack(payload))


def _unanswered(status: int, wait_s: float) -> str:
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in _TOO_SLOW:
        return (
            f"libpcap did not finish with the capture filter in {wait_s:.0f} seconds. "
            "Names may need a name server that does not answer: use addresses."
        )
    return "libpcap failed on the capture filter without a message."


# --- the child process --------------------------------------------------------------


def _in_child(
    compilations: Callable[[], Iterator[tuple[bytes, bytes]]],
    user: User | None,
    wait_s: float,
) -> tuple[list[tuple[bytes, bytes]], int]:
    """Return the child's answers, each (kind, payload), and its wait status."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _child(writer, compilations, user, wait_s)
    os.close(writer)
    try:
        stream, ended = _read_until(reader, time.monotonic() + wait_s + _GRACE_S)
    finally:
        os.close(reader)
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
    return list(_split(stream)), status if ended else signal.SIGALRM


def _read_until(reader: int, deadline: float) -> tuple[bytes, bool]:
    """Return what the child writes, and whether it ended before the deadline."""
    poller = select.poll()
    poller.register(reader, select.POLLIN)
    stream = b""
    while len(stream) < _ANSWERS_LEN_MAX:
        left_s = max(0.0, deadline - time.monotonic())
        if not poller.poll(1000 * left_s):
            return stream, False
        more = os.read(reader, _READ_LEN)
        if not more:
            break
        stream += more
    return stream, True


def _child(
    writer: int,
    compilations: Callable[[], Iterator[tuple[bytes, bytes]]],
    user: User | None,
    wait_s: float,
) -> NoReturn:
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        signal.setitimer(signal.ITIMER_REAL, wait_s)
        _close_all_but(writer)
        for kind, payload in _answers(compilations, user, wait_s):
            _write_all(writer, kind + struct.pack("=I", len(payload)) + payload)
    finally:
        # On any exception, too: the exit handlers are the parent's.
        os._exit(0)


def _answers(
    compilations: Callable[[], Iterator[tuple[bytes, bytes]]],
    user: User | None,
    wait_s: float,
) -> Iterator[tuple[bytes, bytes]]:
    try:
        sandbox.enter(user, _limits(wait_s), sandbox.RESOLVING)
    except OSError as error:
        reason = f"{_NO_SANDBOX}: {error.strerror}."
        yield _MESSAGE, reason.encode()
        return
    yield from compilations()


def _close_all_but(kept: int) -> None:
    """Close what the parent has open, such as the stream, and use /dev/null instead."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in {0, 1, 2} - {kept}:
        os.dup2(null, standard)
    descriptors.close_all_but({0, 1, 2, kept})


def _limits(wait_s: float) -> dict[int, int]:
    mapped = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    return {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: int(wait_s) + 1,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_AS: mapped * mmap.PAGESIZE + _MEMORY_LEN,
    }


def _write_all(writer: int, data: bytes) -> None:
    while data:
        data = data[os.write(writer, data) :]


def _split(stream: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the complete answers: the timer may have ended the child in a write."""
    while len(stream) >= _ANSWER_HEAD:
        (length,) = struct.unpack_from("=I", stream, 1)
        end = _ANSWER_HEAD + length
        if end > len(stream):
            return
        yield stream[:1], stream[_ANSWER_HEAD:end]
        stream = stream[end:]


def _compilations(
    text: bytes, parts: list[bytes], linktype: int, netmask: int
) -> Iterator[tuple[bytes, bytes]]:
    """Yield the programs of the parts, if there are several, and they are long.

    Else yield the plain program first, in case optimising takes too long.
    """
    programs = [_compile(part, linktype, netmask, optimise=False) for part in parts]
    if len(parts) > 1 and _are_long(programs):
        for part, plain in zip(parts, programs, strict=True):
            kind, payload = _compile(part, linktype, netmask, optimise=True)
            yield _PART, payload if kind == _PROGRAM else plain[1]
        return
    plain = _compile(text, linktype, netmask, optimise=False)
    yield plain
    if plain[0] == _PROGRAM and not _are_long([plain]):
        optimised = _compile(text, linktype, netmask, optimise=True)
        # Any other message is about the optimiser, not about the filter.
        if optimised[0] == _PROGRAM or optimised[1].startswith(_REJECTS_ALL):
            yield optimised


def _are_long(answers: list[tuple[bytes, bytes]]) -> bool:
    """Return whether all are programs, and together too long for the optimiser."""
    insns = sum(len(payload) for _, payload in answers) // _INSN.size
    programs = all(kind == _PROGRAM for kind, _ in answers)
    return programs and insns > MAX_OPTIMISED_INSNS


def _compile(
    text: bytes, linktype: int, netmask: int, *, optimise: bool
) -> tuple[bytes, bytes]:
    pcap = _library()
    handle = pcap.pcap_open_dead(_DLT.get(linktype, linktype), _SNAPLEN)
    program = _Program()
    failed = pcap.pcap_compile(handle, ctypes.byref(program), text, optimise, netmask)
    if failed:
        return _MESSAGE, pcap.pcap_geterr(handle)
    size = program.length * ctypes.sizeof(_Insn)
    return _PROGRAM, ctypes.string_at(program.insns, size)


# --- the library --------------------------------------------------------------------


@functools.cache
def _library() -> ctypes.CDLL:
    for name in ("libpcap.so.1", "libpcap.so.0.8", "libpcap.so"):
        try:
            return _declare(ctypes.CDLL(name))
        except OSError:
            continue
    raise FilterError("libpcap is not installed; capture filters need it.")


def _declare(pcap: ctypes.CDLL) -> ctypes.CDLL:
    """Declare the signatures: without them ctypes cuts pointers to 32 bits."""
    program = ctypes.POINTER(_Program)
    pcap.pcap_open_dead.argtypes = (ctypes.c_int, ctypes.c_int)
    pcap.pcap_open_dead.restype = ctypes.c_void_p
    pcap.pcap_geterr.argtypes = (ctypes.c_void_p,)
    pcap.pcap_geterr.restype = ctypes.c_char_p
    pcap.pcap_compile.argtypes = (
        ctypes.c_void_p,
        program,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_uint32,
    )
    return pcap
