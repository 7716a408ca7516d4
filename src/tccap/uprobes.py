"""The probes in TLS libraries: programs of bpf/secret.c on the sites of files."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tccap import probetable
from tccap.errors import TccapError
from tccap.tlssites import Site

BPF_PROG_TYPE_KPROBE = 2  # include/uapi/linux/bpf.h
ENTRY = 0  # bcc's name for a probe on an instruction, and not on a return
EVERY_PROCESS = -1
COMMON = "on_secret"


class Uprobes:
    """All probes of a capture. They go when they are closed, or with the process."""

    def __init__(self, bpf: Any, lib: Any) -> None:
        self._bpf = bpf
        self._lib = lib
        self._fds: list[int] = []
        self._rows = bpf["tls_sites"]
        tail = bpf["secret_tail"]
        tail[tail.Key(0)] = tail.Leaf(self._load(COMMON))

    def attach(self, file_fd: int, site: Site) -> None:
        """Probe a site of an open file; TccapError if that cannot be.

        Every process is probed that has the file mapped, or will.
        """
        slot = len(self._fds)
        if slot == probetable.SLOTS:
            raise TccapError(f"All {slot} probes are in use.")
        row = self._rows.Leaf.from_buffer_copy(probetable.row(site))
        self._rows[self._rows.Key(slot)] = row
        probe_fd = self._lib.bpf_attach_uprobe(
            self._load(probetable.slot_program(slot)),
            ENTRY,
            b"tccap",
            # The very file that was inspected, whatever its name leads to now.
            b"/proc/self/fd/%d" % file_fd,
            site.file_offset,
            EVERY_PROCESS,
        )
        if probe_fd < 0:
            raise TccapError("The kernel attaches no probe there.")
        self._fds.append(probe_fd)

    def close(self) -> None:
        """Detach all; at once, as the kernel waits for a while at each."""
        fds, self._fds = self._fds, []
        if fds:
            with ThreadPoolExecutor(len(fds)) as pool:
                list(pool.map(self._lib.bpf_close_perf_event_fd, fds))

    def _load(self, program: str) -> int:
        try:
            return int(self._bpf.load_func(program, BPF_PROG_TYPE_KPROBE).fd)
        except Exception:  # noqa: BLE001  # bcc raises nothing narrower
            raise TccapError(f"The kernel does not load {program}.") from None
