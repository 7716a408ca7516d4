"""libpcap's interpreter of classic BPF, which judges tccap's translation."""

import ctypes
from collections.abc import Callable

from tccap.filter import libpcap
from tccap.filter.cbpf import Program
from tccap.stream import linktypes

ETHERNET, RAW = linktypes.ETHERNET.linktype, linktypes.RAW_IP.linktype


class _PacketHeader(ctypes.Structure):
    """`struct pcap_pkthdr`, pcap/pcap.h; the timestamp stays zero."""

    _fields_ = (
        ("seconds", ctypes.c_long),
        ("microseconds", ctypes.c_long),
        ("caplen", ctypes.c_uint32),
        ("len", ctypes.c_uint32),
    )


def offline_filter(program: Program) -> Callable[[bytes], bool]:
    """Return a function that runs a program on a frame in libpcap's interpreter."""
    run = libpcap._library().pcap_offline_filter
    run.argtypes = (
        ctypes.POINTER(libpcap._Program),
        ctypes.POINTER(_PacketHeader),
        ctypes.c_char_p,
    )
    run.restype = ctypes.c_int
    insns = (libpcap._Insn * len(program))(*(libpcap._Insn(*insn) for insn in program))
    compiled = libpcap._Program(len(program), insns)
    header = _PacketHeader()

    def matches(frame: bytes) -> bool:
        header.caplen = header.len = len(frame)
        return bool(run(ctypes.byref(compiled), ctypes.byref(header), frame))

    return matches


def matches_offline(program: Program, frame: bytes) -> bool:
    """Return whether libpcap's interpreter lets a whole frame pass."""
    return offline_filter(program)(frame)
