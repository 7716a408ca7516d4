"""libpcap's own filter compiler and interpreter, through ctypes.

No privileges are needed: the handle is a dead one. Compiling happens in a
child process, because libpcap offers no bound for its time: a name in a filter
may ask a name server that does not answer, and the optimiser needs 12 seconds
for 500 hosts. A timer ends the child; a filter that makes libpcap crash ends
only the child.
"""

import ctypes
import functools
import os
import signal
import struct
from collections.abc import Callable, Iterator
from typing import Final, NoReturn

from tccap.filter import language
from tccap.filter.cbpf import FilterError, Insn, Program

LINKTYPE_ETHERNET: Final = 1
LINKTYPE_RAW: Final = 101

# Names take what the resolver takes; this is what a person waits in silence.
DEADLINE_S: Final = 3.0
DEADLINE_S_PER_BYTE: Final = 0.002
# libpcap's time grows with the square of the text; 500 hosts are 10 kB.
# The optimiser's time grows with the cube: 10 ms here, 12 s at fifteen times
# as many. Longer programs are left to tccap's own passes.
MAX_OPTIMISED_INSNS: Final = 1500

# libpcap has numbers of its own for some link types (pcap/dlt.h).
_DLT: Final = {LINKTYPE_RAW: 12}
_NETMASK_UNKNOWN: Final = 0xFFFFFFFF
_REJECTS_ALL: Final = b"expression rejects all packets"
# What the child writes before its answer: a program follows, or a message.
_PROGRAM: Final = b"P"
_MESSAGE: Final = b"E"
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


class _PacketHeader(ctypes.Structure):
    """`struct pcap_pkthdr`, pcap/pcap.h; the timestamp stays zero."""

    _fields_ = (
        ("seconds", ctypes.c_long),
        ("microseconds", ctypes.c_long),
        ("caplen", ctypes.c_uint32),
        ("len", ctypes.c_uint32),
    )


def compile_filter(
    expression: str,
    linktype: int,
    snaplen: int = 262144,
    *,
    deadline_s: float | None = None,
) -> Program:
    """Return what libpcap makes of a filter expression (pcap-filter(7)).

    `linktype` is a LINKTYPE_ number, `snaplen` in bytes what an accepting
    program returns. Raises FilterError with libpcap's own message, or with one
    that says what is wrong with the text, or that the deadline (by default
    some seconds, more for a long text) has passed.
    """
    text = language.encode(expression)
    wait_s = deadline_s or DEADLINE_S + len(text) * DEADLINE_S_PER_BYTE
    answers, status = _in_child(text, linktype, snaplen, wait_s)
    if not answers:
        raise FilterError(_unanswered(status, wait_s))
    kind, payload = answers[-1]
    if kind == _MESSAGE:
        raise FilterError(payload.decode(errors="replace").strip())
    return tuple(Insn(*fields) for fields in _INSN.iter_unpack(payload))


def _unanswered(status: int, wait_s: float) -> str:
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM:
        return (
            f"libpcap did not finish with the capture filter in {wait_s:.0f} seconds. "
            "Names may need a name server that does not answer: use addresses."
        )
    return "libpcap failed on the capture filter without a message."


# --- the child process --------------------------------------------------------------


def _in_child(
    text: bytes, linktype: int, snaplen: int, wait_s: float
) -> tuple[list[tuple[bytes, bytes]], int]:
    """Return the child's answers, each (kind, payload), and its wait status."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _child(writer, text, linktype, snaplen, wait_s)
    os.close(writer)
    with open(reader, "rb") as pipe:  # noqa: PTH123 - a descriptor, not a path
        answers = list(_split(pipe.read()))
    return answers, os.waitpid(child, 0)[1]


def _child(
    writer: int, text: bytes, linktype: int, snaplen: int, wait_s: float
) -> NoReturn:
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        signal.setitimer(signal.ITIMER_REAL, wait_s)
        for kind, payload in _compilations(text, linktype, snaplen):
            _write_all(writer, kind + struct.pack("=I", len(payload)) + payload)
    finally:
        # Whatever happened: the parent's exit handlers are not this process's.
        os._exit(0)


def _write_all(writer: int, data: bytes) -> None:
    while data:
        data = data[os.write(writer, data) :]


def _split(stream: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Complete answers only: the timer may have ended the child in a write."""
    while len(stream) >= _ANSWER_HEAD:
        (length,) = struct.unpack_from("=I", stream, 1)
        end = _ANSWER_HEAD + length
        if end > len(stream):
            return
        yield stream[:1], stream[_ANSWER_HEAD:end]
        stream = stream[end:]


def _compilations(
    text: bytes, linktype: int, snaplen: int
) -> Iterator[tuple[bytes, bytes]]:
    """First the plain program, so that it is there if optimising takes too long."""
    plain = _compile(text, linktype, snaplen, optimise=False)
    yield plain
    if plain[0] == _PROGRAM and len(plain[1]) <= MAX_OPTIMISED_INSNS * _INSN.size:
        optimised = _compile(text, linktype, snaplen, optimise=True)
        # Any other complaint is the optimiser's own trouble.
        if optimised[0] == _PROGRAM or optimised[1].startswith(_REJECTS_ALL):
            yield optimised


def _compile(
    text: bytes, linktype: int, snaplen: int, *, optimise: bool
) -> tuple[bytes, bytes]:
    pcap = _library()
    handle = pcap.pcap_open_dead(_DLT.get(linktype, linktype), snaplen)
    program = _Program()
    failed = pcap.pcap_compile(
        handle, ctypes.byref(program), text, optimise, _NETMASK_UNKNOWN
    )
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
    """State the signatures; ctypes would cut pointers to 32 bits."""
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
    pcap.pcap_offline_filter.argtypes = (
        program,
        ctypes.POINTER(_PacketHeader),
        ctypes.c_char_p,
    )
    pcap.pcap_offline_filter.restype = ctypes.c_int
    return pcap


def offline_filter(program: Program) -> Callable[[bytes], bool]:
    """Return a function that runs a program on a frame in libpcap's interpreter."""
    run = _library().pcap_offline_filter
    insns = (_Insn * len(program))(*(_Insn(*insn) for insn in program))
    compiled = _Program(len(program), insns)
    header = _PacketHeader()

    def matches(frame: bytes) -> bool:
        header.caplen = header.len = len(frame)
        return bool(run(ctypes.byref(compiled), ctypes.byref(header), frame))

    return matches


def matches_offline(program: Program, frame: bytes) -> bool:
    """Whether libpcap's own interpreter lets a whole frame pass."""
    return offline_filter(program)(frame)
