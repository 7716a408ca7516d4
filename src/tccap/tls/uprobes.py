"""The probes in TLS libraries: programs of bpf/tls/secret.c on the sites of files."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from tccap.bpf import progs
from tccap.bpf.bcclib import bcc
from tccap.bpf.maps import Map
from tccap.errors import TccapError
from tccap.tls import probetable
from tccap.tls.sites import Site

ENTRY = 0  # bcc's name for a probe on an instruction, and not on a return
EVERY_PROCESS = -1
# No counter of references, in which the kernel would note in a program's memory that it
# is probed. libbcc (0.10 and later) takes it as an argument that bcc's own types leave
# out: unsaid it is whatever is on the stack. Others could then not probe that place
# (EINVAL), and the kernel would write into programs, and fail to detach the probe.
NO_COUNTER = 0
# The map of tail calls in which the slots' programs end, and what is there.
TAIL = ("secret_tail", "on_secret")


def attach(program_fd: int, path: bytes, offset: int, pid: int) -> int:
    """Run a program at an instruction of a file; return the probe's descriptor.

    ``pid`` may be EVERY_PROCESS. TccapError if it cannot be.
    """
    place = (path, offset, pid, NO_COUNTER)
    probe_fd = int(bcc().lib.bpf_attach_uprobe(program_fd, ENTRY, b"tccap", *place))
    if probe_fd < 0:
        raise TccapError("The kernel attaches no probe there.")
    return probe_fd


class Uprobes:
    """All probes of a capture. They go when they are closed, or with the process.

    ``program`` returns the descriptor of a program of a type (`bpfprog`), and ``sites``
    is the map that tells programs where to read.
    """

    def __init__(self, program: Callable[[str, int], int], sites: Map) -> None:
        self._program = program
        self._sites = sites
        self._fds: dict[int, int] = {}  # by slot

    @property
    def free_slots(self) -> int:
        """How many more probes there can be."""
        return probetable.SLOTS - len(self._fds)

    def attach(self, file_fd: int, site: Site) -> int:
        """Probe a site of an open file; return the slot that the probe has.

        Every process is probed that has the file mapped, or will. TccapError if that
        cannot be.
        """
        slot = next((n for n in range(probetable.SLOTS) if n not in self._fds), None)
        if slot is None:
            raise TccapError(f"All {probetable.SLOTS} probes are in use.")
        row = self._sites.Leaf.from_buffer_copy(probetable.row(site))
        self._sites[self._sites.Key(slot)] = row
        program_fd = self._program(probetable.slot_program(slot), progs.KPROBE)
        # The very file that was inspected, whatever its name leads to now.
        path = b"/proc/self/fd/%d" % file_fd
        self._fds[slot] = attach(program_fd, path, site.file_offset, EVERY_PROCESS)
        return slot

    def detach(self, slots: Iterable[int]) -> None:
        """Detach these; all at once, as the kernel waits for a while at each."""
        fds = [self._fds.pop(slot) for slot in slots]
        if fds:
            with ThreadPoolExecutor(len(fds)) as pool:
                list(pool.map(bcc().lib.bpf_close_perf_event_fd, fds))

    def close(self) -> None:
        """Detach all."""
        self.detach([*self._fds])
