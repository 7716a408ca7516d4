"""The BPF side of a capture: its programs and maps in the kernel."""

import contextlib
import ctypes
import functools
import os
import resource
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tccap.bpf import progs
from tccap.bpf.maps import Map, load_btf
from tccap.bpf.objects import Object
from tccap.bpf.uapi import ProgType
from tccap.errors import TccapError
from tccap.paths import BPF_DIR
from tccap.stream import abi
from tccap.stream.abi import Statistics

# In the order of the map in bpf/packet/stages.c; some kernels need less.
STAGES = ("tccap_classify", "tccap_describe")
_BY_ENGINE = 1  # in table_changes, there


class Classified(NamedTuple):
    """What the classifier must know of a device: struct device of bpf/abi.h."""

    interface_id: int
    has_ethernet: bool
    is_loopback: bool
    far_namespace: int
    leads_away: bool


class Shortages(NamedTuple):
    """What attribution could not keep."""

    sockets: int  # owners that were not recorded
    processes: int  # packets without label, as their process was forgotten


def text(*sources: str) -> str:
    """Return the C text made of files of bpf/, in order.

    It is one text, since bcc translates map accesses in one file only.
    """
    files = ((name, Path(BPF_DIR, name)) for name in sources)
    return "".join(f'#line 1 "{n}"\n{f.read_text("ascii")}' for n, f in files)


class Kernel:
    """The programs of a capture and their maps; closing the process frees them.

    Objects share the maps of the same name. TccapError where the kernel does not take
    them.
    """

    def __init__(self, objects: Sequence[Object], ring_pages: int) -> None:
        _lift_memory_lock_limit()
        self._objects = objects
        self._loaded: dict[tuple[str, ProgType], int] = {}
        self._maps: dict[str, Map] = {}
        self._table_changes = 0
        try:
            for each in objects:
                self._make_maps(each)
        except OSError as error:
            raise TccapError(refusal("make maps", error)) from None
        self.ring_len = ring_pages * abi.PAGE_LEN

    def _make_maps(self, of: Object) -> None:
        btf_fd = load_btf(of.btf) if of.btf else 0
        cpus = possible_cpus()
        for spec in of.maps:
            if spec.name not in self._maps:
                self._maps[spec.name] = Map(spec, btf_fd, cpus)

    def load(self) -> None:
        """Load the classifiers: `ingress_fd` and `egress_fd` refer to the first."""
        existing = {name for each in self._objects for name in each.programs}
        for slot, name in enumerate(STAGES):
            if name in existing:
                self.fill("stages", {slot: self.program(name, ProgType.SCHED_CLS)})
        self.ingress_fd = self.program("tccap_ingress", ProgType.SCHED_CLS)
        self.egress_fd = self.program("tccap_egress", ProgType.SCHED_CLS)
        self.ring_fd = self._maps["ring"].fd
        self._devices = self._maps["devices"]
        self._counters = self._maps["counters"]

    def program(self, name: str, kind: ProgType) -> int:
        """Return a program's descriptor, which stays ours; loads it the first time.

        ``kind`` is its type, of `bpfprog`. TccapError where the kernel refuses it.
        """
        if (name, kind) not in self._loaded:
            instructions = self.instructions(name)
            try:
                loaded = progs.load(kind, name, instructions)
            except OSError as error:
                raise TccapError(refusal(f"load {name}", error)) from None
            self._loaded[name, kind] = loaded
        return self._loaded[name, kind]

    def instructions(self, name: str) -> bytes:
        """Return a program as the kernel takes it."""
        home = next(each for each in self._objects if name in each.programs)
        fds = {place: self._maps[s.name].fd for place, s in enumerate(home.maps)}
        return home.instructions(name, fds)

    def add_device(self, ifindex: int, classified: Classified) -> None:
        """Let the classifier take frames of the device."""
        self._devices[self._devices.Key(ifindex)] = self._devices.Leaf(*classified)
        self.tables_changed()

    def remove_device(self, ifindex: int) -> None:
        """Make the classifier pass over frames of the device."""
        try:
            del self._devices[self._devices.Key(ifindex)]
        except KeyError:
            return
        self.tables_changed()

    def tables_changed(self) -> None:
        """Have the programs look up again what they found before in their tables.

        For whoever has changed an entry, or taken it out: devices, local_addresses and
        processes.
        """
        self._table_changes += 1
        self.fill("table_changes", {_BY_ENGINE: self._table_changes})

    def table(self, name: str) -> Map:
        """Return a map."""
        return self._maps[name]

    def fill(self, name: str, entries: dict[Any, int]) -> None:
        """Write entries into a map of numbers; a tuple makes a structured key.

        Into a map of tail calls go programs by their descriptors.
        """
        table = self._maps[name]
        for key, value in entries.items():
            parts = key if isinstance(key, tuple) else (key,)
            table[table.Key(*parts)] = table.Leaf(value)

    def forget_flows(self, flows: list[bytes]) -> None:
        """Let packets of TLS connections go on at once (struct tls_flow each)."""
        marks = self._maps["tls_marks"]
        with undisturbed():
            for flow in flows:
                with contextlib.suppress(KeyError):
                    del marks[marks.Key.from_buffer_copy(flow)]

    def shortages(self) -> Shortages:
        """Return what attribution could not keep, over all CPUs."""
        table = self._maps["shortages"]
        shares = table[table.Key(0)]
        return Shortages(
            sockets=sum(share.sockets for share in shares),
            processes=sum(share.processes for share in shares),
        )

    def set_wall_offset(self, offset_ns: int) -> None:
        """Tell the programs wall clock minus boot clock, in ns."""
        self.fill("wall_offset", {0: offset_ns})

    def statistics(self, interface_id: int) -> Statistics:
        """Return the interface's counts, over all CPUs."""
        with undisturbed():
            shares = self._counters[self._counters.Key(interface_id)]
        return Statistics(
            received=sum(share.received for share in shares),
            accepted=sum(share.accepted for share in shares),
            dropped=sum(share.dropped for share in shares),
            unattributed=sum(share.unowned for share in shares),
        )


def refusal(what: str, error: Exception) -> str:
    """Say what failed, and what to do; the details go to stderr, for the log."""
    if isinstance(error, progs.RefusedError):
        print(error.log, file=sys.stderr)  # noqa: T201  # the front reads it
    if os.geteuid() != 0:
        return f"Capturing needs root: tccap could not {what}."
    first_line = (str(error).splitlines() or [""])[0]
    return (
        f"tccap could not {what} ({first_line}): run 'tccap check' to see what this "
        "machine lacks, or capture with --log-level debug --log-file FILE to see why."
    )


def _lift_memory_lock_limit() -> None:
    """Before 5.11 the kernel charges maps to RLIMIT_MEMLOCK."""
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, unlimited)
    except (OSError, ValueError):
        return  # loading tells whether it mattered


@functools.cache
def possible_cpus() -> int:
    """Return how many CPUs the kernel may ever number."""
    ranges = Path("/sys/devices/system/cpu/possible").read_text("ascii").split(",")
    return int(ranges[-1].split("-")[-1]) + 1


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let no other process run on this CPU while we use a map by system calls.

    The kernel skips kprobe programs on a CPU in the middle of such a call
    (bpf_disable_instrumentation), but lets others run there: what they do with
    their sockets in that time would go unseen.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        yield  # not allowed here: the gap is small
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def wait_for_programs() -> None:
    """Return when every classifier that was running has come to its end.

    membarrier(2), MEMBARRIER_CMD_GLOBAL, waits for an RCU grace period, and
    classifiers run inside RCU read-side sections.
    """
    ctypes.CDLL(None).syscall(_MEMBARRIER[os.uname().machine], 1, 0, 0)


_MEMBARRIER = {"x86_64": 324, "aarch64": 283}
