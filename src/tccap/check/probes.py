"""Trying what a kernel can do, with programs that do nothing.

Distributions backport, and hardened kernels leave things out, so versions say
little: each function loads and attaches something harmless and returns what
came of it. Nothing is left behind, and no other program notices.
"""

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tccap.attach import taps, tcx
from tccap.bpf import bcclib
from tccap.engine import programs
from tccap.errors import TccapError
from tccap.filter.capturefilter import CaptureFilter
from tccap.front import options, request
from tccap.host import access
from tccap.stream import linktypes
from tccap.tls import uprobes
from tccap.tls.session import Tls

CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h
LOOPBACK_IFINDEX = 1  # in every network namespace

_RING_BUFFER = "BPF_RINGBUF_OUTPUT(ring, 1);"
_PROBE = """
BPF_ARRAY(seen, int, 2);
int probe(void *context)
{
    char byte;
    int fired = 0, peeked = 1, yes = 1;
    int error = bpf_probe_read_kernel(&byte, 1, (void *)bpf_get_current_task());

    seen.update(&fired, &yes);
    if (!error)
        seen.update(&peeked, &yes);
    return 0;
}
"""


class Uprobe(NamedTuple):
    """What a probe on a function of our own saw."""

    fired: bool
    reads_kernel_memory: bool


def has_ring_buffer() -> bool:
    """Tell whether the kernel has the BPF ring buffer (Linux 5.8)."""
    return _works(lambda: bcclib.program(_RING_BUFFER))


def attach_classifiers() -> str:
    """Load the classifiers of a capture and attach them; return by what way.

    TccapError where that fails. They go to the loopback device of a new
    network namespace, in which this process stays.
    """
    the_plan = request.plan("tccap-lo", "", options.Options())
    with _silence():
        no_filter = CaptureFilter(the_plan.filters, (linktypes.ETHERNET,))
        caller = access.caller()
        kernel, _attribution = programs.prepare(
            the_plan, caller, Tls(the_plan, caller), no_filter
        )
        kernel.load()
        _leave_network_namespace()
        sides = {"in": kernel.ingress_fd, "out": kernel.egress_fd}
        with taps.make(sides) as all_taps:
            _attach(all_taps)
    return "TCX" if tcx.is_supported(kernel.ingress_fd) else "clsact"


def has_kprobes() -> bool:
    """Tell whether a program can be attached to a function of the kernel."""
    with _probe() as bpf:
        return _works(
            lambda: bpf.attach_kprobe(event="tcp_sendmsg", fn_name="probe"),
        )


def try_uprobe() -> Uprobe:
    """Attach a program to a function of libc in this process, and call it."""
    function = ctypes.CDLL(None).getpid
    with _probe() as bpf, _silence():
        try:
            program_fd = bpf.load_func(b"probe", bpf.KPROBE).fd
            probe_fd = uprobes.attach(program_fd, *_place_of(function), os.getpid())
        except Exception:  # noqa: BLE001  # bcc raises nothing narrower
            return Uprobe(fired=False, reads_kernel_memory=False)
        function()
        os.close(probe_fd)
        return Uprobe(*(bool(flag.value) for flag in bpf["seen"].values()))


def _place_of(function: Any) -> tuple[bytes, int]:
    """Return the file that holds a function of this process, and its offset there."""
    address = ctypes.cast(function, ctypes.c_void_p).value or 0
    for line in Path("/proc/self/maps").read_bytes().splitlines():
        addresses, _mode, offset, _device, _inode, *path = line.split(maxsplit=5)
        start, end = (int(part, 16) for part in addresses.split(b"-"))
        if start <= address < end:
            return path[0], address - start + int(offset, 16)
    raise TccapError("A function lies in no file.")


@contextlib.contextmanager
def _probe() -> Iterator[Any]:
    with _silence():
        bpf = bcclib.program(_PROBE)
    try:
        yield bpf
    finally:
        # Closing detaches. bcc's own way out needs tracefs, and fails aloud
        # at the end of the process where that is not mounted.
        _close_all(bpf.kprobe_fds)


def _close_all(fds: Any) -> None:
    while fds:
        _name, opened = fds.popitem()
        # Newer versions of bcc keep one descriptor a function.
        for fd in opened.values() if isinstance(opened, dict) else [opened]:
            os.close(fd)


def _works(trial: Callable[[], object]) -> bool:
    try:
        with _silence():
            trial()
    except Exception:  # noqa: BLE001  # bcc raises nothing narrower
        return False
    return True


def _attach(all_taps: taps.Taps) -> None:
    try:
        all_taps.attach(LOOPBACK_IFINDEX, taps.SIDES["both"])
    except OSError as error:
        raise TccapError(
            f"The kernel attaches no classifiers ({error.strerror}): it needs "
            "Linux 6.6, or the modules sch_ingress and cls_bpf."
        ) from None


def _leave_network_namespace() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        reason = os.strerror(ctypes.get_errno())
        raise TccapError(f"No network namespace can be made to try in ({reason}).")


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep what bcc's libraries write on stderr from people."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
