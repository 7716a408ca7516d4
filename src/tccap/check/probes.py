"""Trying whether a kernel takes a capture's classifiers, and probes in programs.

Each function attaches something harmless and returns what came of it. Nothing is left
behind, and no other program notices. What else a kernel can do, `features` says.
"""

import contextlib
import ctypes
import dataclasses
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tccap.attach.attacher import DIRECTIONS, Attacher, make_attacher
from tccap.bpf import bcclib
from tccap.bpf.collection import Collection
from tccap.engine import parts, programs
from tccap.engine.classifier import Classifier
from tccap.errors import TccapError
from tccap.front import options, request
from tccap.host import access
from tccap.ipc.plan import Plan
from tccap.tls import uprobes

CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h
LOOPBACK_IFINDEX = 1  # in every network namespace

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
    """What a probe on one of our own functions saw."""

    fired: bool
    reads_kernel_memory: bool


def attach_classifiers() -> str:
    """Load the classifiers of a capture and attach them; return by what way.

    Those for full labels are compiled, too, so that every later capture starts fast.

    TccapError where that fails, PermissionError where it cannot be tried. They are
    attached to the loopback device of a new network namespace, in which this process
    stays.
    """
    plan = request.plan("tccap-lo", "", options.Options())
    with _silence():
        collection = _prepared(plan)
        classifier = Classifier(collection)
        _leave_network_namespace()
        with make_attacher(classifier.programs) as attacher:
            _attach(attacher)
            classifier.begin()
            return attacher.NAME


def _prepared(plan: Plan) -> Collection:
    caller = access.caller()
    full = dataclasses.replace(plan, label="full")
    programs.compiled(programs.codes_of(full, parts.choose(full, caller)))
    return programs.prepare(plan, parts.choose(plan, caller))


def try_uprobe() -> Uprobe:
    """Attach a program to a function of libc in this process, and call it."""
    function = ctypes.CDLL(None).getpid
    with _silence():
        bpf = bcclib.program(_PROBE)
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


def _attach(attacher: Attacher) -> None:
    try:
        attacher.attach(LOOPBACK_IFINDEX, DIRECTIONS["both"])
    except OSError as error:
        raise TccapError(
            f"The kernel attaches no classifiers ({error.strerror}): it needs "
            "Linux 6.6, or the modules sch_ingress and cls_bpf."
        ) from None


def _leave_network_namespace() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        code = ctypes.get_errno()
        if code == errno.EPERM:
            raise PermissionError(code, os.strerror(code))
        reason = os.strerror(code)
        raise TccapError(f"No network namespace can be made to try in ({reason}).")


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Suppress the messages that bcc's libraries write to stderr."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
