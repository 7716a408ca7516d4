"""Uprobes on TLS libraries: the programs of bpf/tls/secret.c, at sites of files."""

import contextlib
import fcntl
import functools
import threading
from collections.abc import Callable, Iterable

from tccap.bpf.bcclib import bcc
from tccap.bpf.maps import Map
from tccap.errors import TccapError
from tccap.host import descriptors
from tccap.tls import probetable
from tccap.tls.sites import Site

ENTRY = 0  # BPF_PROBE_ENTRY of libbpf.h (bcc): not a uretprobe
EVERY_PROCESS = -1
# No reference counter (ref_ctr_offset), which the kernel would increment in the memory
# of probed programs. libbcc (0.10 and later) takes it as an argument that bcc's own
# ctypes signature lacks: left out, it is whatever is on the stack. Then others cannot
# probe that place (EINVAL), the kernel writes into programs, and detaching fails.
NO_COUNTER = 0
# The kernel closes probes one after the other, each in some 50 ms, or more on a busy
# machine; a capture's end does not wait for hundreds.
CLOSED_AT_ONCE = 16
_PERF_EVENT_IOC_DISABLE = 0x2401  # include/uapi/linux/perf_event.h
# The map through which the slots' programs make their tail call, and its program.
TAIL = ("secret_tail", "on_secret")
SLOT_PROGRAM = "tls_slot"


def attach(program_fd: int, path: bytes, offset: int, pid: int) -> int:
    """Run a program at an instruction of a file; return the probe's descriptor.

    ``pid`` may be EVERY_PROCESS. TccapError if the kernel refuses.
    """
    place = (path, offset, pid, NO_COUNTER)
    probe_fd = int(bcc().lib.bpf_attach_uprobe(program_fd, ENTRY, b"tccap", *place))
    if probe_fd < 0:
        raise TccapError("The kernel attaches no probe there.")
    return probe_fd


def _close(probe_fd: int) -> None:
    bcc().lib.bpf_close_perf_event_fd(probe_fd)


class Uprobes:
    """All probes of a capture; the kernel detaches them with the process at the latest.

    ``program`` loads the program of a slot and returns its descriptor; ``sites`` is the
    map in which the programs look up where to read, ``labels`` that in which they look
    up the labels that they need not read.
    """

    def __init__(self, program: Callable[[int], int], sites: Map, labels: Map) -> None:
        self._program = functools.cache(program)
        self._sites = sites
        self._labels = labels
        self._labels_of: dict[int, list[bytes]] = {}  # keys by slot
        self._fds: dict[int, int] = {}  # by slot

    @property
    def free_slots(self) -> int:
        """How many more probes there can be."""
        return probetable.SLOTS - len(self._fds)

    def attach(
        self, file_fd: int, site: Site, strings: Iterable[tuple[int, str]] = ()
    ) -> int:
        """Probe a site of an open file in every process; return the probe's slot.

        ``strings`` are the file's labels (`Inspection.label_strings`). TccapError or
        OSError if the kernel refuses, or all slots are in use.
        """
        slot = next((n for n in range(probetable.SLOTS) if n not in self._fds), None)
        if slot is None:
            raise TccapError(f"All {probetable.SLOTS} probes are in use.")
        row = self._sites.Leaf.from_buffer_copy(probetable.row(site))
        self._sites[self._sites.Key(slot)] = row
        self._add_labels(slot, probetable.label_rows(slot, site, strings))
        program_fd = self._program(slot)
        # By descriptor: another file may have the inspected file's name by now.
        path = b"/proc/self/fd/%d" % file_fd
        self._fds[slot] = attach(program_fd, path, site.file_offset, EVERY_PROCESS)
        return slot

    def _add_labels(self, slot: int, rows: dict[bytes, bytes]) -> None:
        for key in self._labels_of.pop(slot, ()):
            with contextlib.suppress(KeyError):
                del self._labels[self._labels.Key.from_buffer_copy(key)]
        for key, label in rows.items():
            made = self._labels.Leaf.from_buffer_copy(label)
            with contextlib.suppress(OSError):  # full: the probe tries to read it
                self._labels[self._labels.Key.from_buffer_copy(key)] = made
        self._labels_of[slot] = [*rows]

    def detach(self, slots: Iterable[int]) -> None:
        """Detach the probes in these slots, all at once: the kernel waits for each."""
        threads = []
        for fd in [self._fds.pop(slot) for slot in slots]:
            thread = threading.Thread(target=_close, args=(fd,))
            try:
                thread.start()
            except RuntimeError:  # no more threads: then one after the other
                _close(fd)
            else:
                threads.append(thread)
        for thread in threads:
            thread.join()

    def close(self) -> None:
        """Detach all probes; if they are many, a child does, and outlives this process.

        Nothing runs at them any more either way.
        """
        if len(self._fds) <= CLOSED_AT_ONCE:
            self.detach([*self._fds])
            return
        for fd in self._fds.values():
            fcntl.ioctl(fd, _PERF_EVENT_IOC_DISABLE, 0)
        descriptors.leave_to_child(self._fds.values())
        self._fds.clear()
