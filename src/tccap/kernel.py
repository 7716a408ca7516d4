"""The BPF side of a capture: programs and maps, through bcc."""

import atexit
import contextlib
import ctypes
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tccap import abi
from tccap.blocks import Statistics
from tccap.errors import TccapError
from tccap.paths import BPF_DIR

try:
    from bcc import BPF, lib
    from bcc.utils import get_possible_cpus
except (ImportError, OSError):
    raise TccapError(
        "bcc is missing: install python3-bpfcc (sudo apt install python3-bpfcc), "
        "on Fedora and Arch python3-bcc or python-bcc."
    ) from None


# What bpf/capture.c calls, in the order of its map; some kernels need less.
CLASSIFIERS = ("tccap_classify", "tccap_describe")
NOTE_CALLER = 2  # and this, in that map


class Classified(NamedTuple):
    """What the classifier must know of a device: struct device of bpf/abi.h."""

    interface_id: int
    has_ethernet: bool
    is_loopback: bool
    far_namespace: int


class Shortages(NamedTuple):
    """What attribution could not keep."""

    sockets: int  # owners that were not recorded
    processes: int  # packets without label, as their process was forgotten


class Kernel:
    """The loaded programs and their maps; closing the process frees them.

    ``sources`` are the files of bpf/ that make up the programs, in order, up to
    the capture filter, whose text is ``filter_c``, and ``defines`` what they are
    compiled with (bpf/abi.h).
    """

    lib = lib

    def __init__(
        self,
        sources: tuple[str, ...],
        filter_c: str,
        defines: dict[str, int | str],
        ring_pages: int,
    ) -> None:
        _lift_memory_lock_limit()
        # Whatever the caller's environment says: only this tree is tried.
        os.environ["BCC_KERNEL_SOURCE"] = BPF_DIR
        text = _text(sources) + filter_c + _text(("capture.c",))
        self.bpf = _compile(text, defines | {"RING_PAGES": ring_pages})
        # The end of the process detaches everything. bcc's own way takes longer,
        # and fails aloud in network namespaces, where tracefs is not mounted.
        atexit.unregister(self.bpf.cleanup)
        self.ring_len = ring_pages * abi.PAGE_LEN

    def load(self) -> None:
        """Load the classifiers: `ingress_fd` and `egress_fd` refer to them."""
        for slot, name in enumerate(CLASSIFIERS):
            if self._has(name):
                self._set_tail("classifier", slot, self._load(name, BPF.SCHED_CLS))
        self.ingress_fd = self._load("tccap_ingress", BPF.SCHED_CLS)
        self.egress_fd = self._load("tccap_egress", BPF.SCHED_CLS)
        self.ring_fd: int = self.bpf["ring"].map_fd
        self._devices = self.bpf["devices"]
        self._counters = self.bpf["counters"]

    def note_callers(self) -> bool:
        """Have the classifier note who sends; tell whether the kernel can."""
        try:
            program_fd = self._load("tccap_note_caller", BPF.SCHED_CLS)
        except TccapError:
            return False
        self._set_tail("classifier", NOTE_CALLER, program_fd)
        return True

    def add_device(self, ifindex: int, classified: Classified) -> None:
        """Let the classifier take frames of the device."""
        self._devices[self._devices.Key(ifindex)] = self._devices.Leaf(*classified)

    def remove_device(self, ifindex: int) -> None:
        """Make the classifier pass over frames of the device."""
        try:
            del self._devices[self._devices.Key(ifindex)]
        except KeyError:
            return

    def table(self, name: str) -> Any:
        """Return a map."""
        return self.bpf[name]

    def fill(self, name: str, entries: dict[Any, int]) -> None:
        """Write entries into a map of numbers; a tuple makes a structured key."""
        table = self.bpf[name]
        for key, value in entries.items():
            parts = key if isinstance(key, tuple) else (key,)
            table[table.Key(*parts)] = table.Leaf(value)

    def instructions(self, name: str) -> bytes:
        """Return a compiled program as the kernel takes it."""
        module, program = self.bpf.module, name.encode()
        start = lib.bpf_function_start(module, program)
        return ctypes.string_at(start, lib.bpf_function_size(module, program))

    def forget_flows(self, flows: list[bytes]) -> None:
        """Let packets of TLS connections go on at once (struct tls_flow each)."""
        marks = self.bpf["tls_marks"]
        with undisturbed():
            for flow in flows:
                with contextlib.suppress(KeyError):
                    del marks[marks.Key.from_buffer_copy(flow)]

    def set_kprobe_tail(self, name: str, program: str) -> None:
        """Put a kprobe program into a map of tail calls."""
        self._set_tail(name, 0, self._load(program, BPF.KPROBE))

    def shortages(self) -> Shortages:
        """Return what attribution could not keep, over all CPUs."""
        table = self.bpf["shortages"]
        shares = table[table.Key(0)]
        return Shortages(
            sockets=sum(share.sockets for share in shares),
            processes=sum(share.processes for share in shares),
        )

    def set_wall_offset(self, offset_ns: int) -> None:
        """Tell the programs wall clock minus boot clock, in ns."""
        table = self.bpf["wall_offset"]
        table[table.Key(0)] = table.Leaf(offset_ns)

    def statistics(self, interface_id: int) -> Statistics:
        """Return the interface's counts, over all CPUs."""
        with undisturbed():
            shares = self._counters[self._counters.Key(interface_id)]
        return Statistics(
            received=sum(share.received for share in shares),
            accepted=sum(share.accepted for share in shares),
            dropped=sum(share.dropped for share in shares),
            unowned=sum(share.unowned for share in shares),
        )

    def _has(self, program: str) -> bool:
        return bool(lib.bpf_function_start(self.bpf.module, program.encode()))

    def _set_tail(self, name: str, slot: int, program_fd: int) -> None:
        table = self.bpf[name]
        table[table.Key(slot)] = table.Leaf(program_fd)

    def _load(self, name: str, kind: int) -> int:
        try:
            return int(self.bpf.load_func(name, kind).fd)
        except Exception as error:  # noqa: BLE001  # bcc raises nothing narrower
            raise TccapError(_refusal(f"load {name}", error)) from None


def _text(sources: tuple[str, ...]) -> str:
    """Join the sources: bcc translates map accesses in one file only."""
    files = ((name, Path(BPF_DIR, name)) for name in sources)
    return "".join(f'#line 1 "{n}"\n{f.read_text("ascii")}' for n, f in files)


# bcc optimises what clang gives it, so that clang need not: half the time.
_ONE_PASS = ("-Xclang", "-disable-llvm-passes")


def _compile(text: str, defines: dict[str, int | str]) -> Any:
    flags = [f"-D{name}={value}" for name, value in defines.items()]
    try:
        return BPF(
            text=text,
            cflags=[f"-I{BPF_DIR}", "-Wno-macro-redefined", *_ONE_PASS, *flags],
        )
    except Exception as error:  # noqa: BLE001  # bcc raises nothing narrower
        raise TccapError(_refusal("prepare the BPF programs", error)) from None


def _refusal(what: str, error: Exception) -> str:
    """Say what failed, and what to do; bcc has printed the details for the log."""
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


def possible_cpus() -> int:
    """Return how many CPUs the kernel may ever number."""
    return int(max(get_possible_cpus())) + 1


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
