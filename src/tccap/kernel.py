"""The BPF side of a capture: programs and maps, through bcc."""

import ctypes
import os
import resource
from typing import Any

from tccap import abi
from tccap.blocks import Statistics
from tccap.errors import TccapError
from tccap.paths import BPF_DIR

try:
    from bcc import BPF
    from bcc.utils import get_possible_cpus
except ImportError:
    raise TccapError(
        "bcc is missing: install python3-bpfcc (sudo apt install python3-bpfcc), "
        "on Fedora and Arch python3-bcc or python-bcc."
    ) from None


class Kernel:
    """The loaded programs and their maps; closing the process frees them."""

    def __init__(self, snaplen: int, ring_pages: int) -> None:
        _lift_memory_lock_limit()
        # Whatever the caller's environment says: only this tree is tried.
        os.environ["BCC_KERNEL_SOURCE"] = BPF_DIR
        cpus = max(get_possible_cpus()) + 1
        self._bpf = _compile(abi.defines(snaplen, ring_pages, cpus))
        self.ring_len = ring_pages * abi.PAGE_LEN

    def load(self) -> None:
        """Load the classifiers: `ingress_fd` and `egress_fd` refer to them."""
        self.ingress_fd = self._load("tccap_ingress")
        self.egress_fd = self._load("tccap_egress")
        self.ring_fd: int = self._bpf["ring"].map_fd
        self._devices = self._bpf["devices"]
        self._counters = self._bpf["counters"]

    def add_device(self, ifindex: int, interface_id: int, *, ethernet: bool) -> None:
        """Let the classifier take frames of the device."""
        key = self._devices.Key(ifindex)
        self._devices[key] = self._devices.Leaf(interface_id, ethernet)

    def remove_device(self, ifindex: int) -> None:
        """Make the classifier pass over frames of the device."""
        try:
            del self._devices[self._devices.Key(ifindex)]
        except KeyError:
            return

    def set_wall_offset(self, offset_ns: int) -> None:
        """Tell the programs wall clock minus boot clock, in ns."""
        table = self._bpf["wall_offset"]
        table[table.Key(0)] = table.Leaf(offset_ns)

    def statistics(self, interface_id: int) -> Statistics:
        """Return the interface's counts, over all CPUs."""
        shares = self._counters[self._counters.Key(interface_id)]
        return Statistics(
            received=sum(share.received for share in shares),
            accepted=sum(share.accepted for share in shares),
            dropped=sum(share.dropped for share in shares),
        )

    def _load(self, name: str) -> int:
        try:
            return int(self._bpf.load_func(name, BPF.SCHED_CLS).fd)
        except Exception as error:  # noqa: BLE001  # bcc raises nothing narrower
            raise TccapError(
                "The kernel refused the classifier: capturing needs root, "
                "Linux 5.8 or later, and BPF not locked down "
                f"({str(error).splitlines()[0]})."
            ) from None


def _compile(defines: dict[str, int]) -> Any:
    flags = [f"-D{name}={value}" for name, value in defines.items()]
    try:
        return BPF(
            src_file=f"{BPF_DIR}/capture.c",
            cflags=[f"-I{BPF_DIR}", "-Wno-macro-redefined", *flags],
        )
    except Exception as error:  # noqa: BLE001  # bcc raises nothing narrower
        raise TccapError(
            "bcc could not prepare the BPF programs: capturing needs root, bcc 0.26 "
            "or later, Linux 5.8 or later, and memory for the ring "
            f"({str(error).splitlines()[0]})."
        ) from None


def _lift_memory_lock_limit() -> None:
    """Before 5.11 the kernel charges maps to RLIMIT_MEMLOCK."""
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, unlimited)
    except (OSError, ValueError):
        return  # loading tells whether it mattered


def wait_for_programs() -> None:
    """Return when every classifier that was running has come to its end.

    membarrier(2), MEMBARRIER_CMD_GLOBAL, waits for an RCU grace period, and
    classifiers run inside RCU read-side sections.
    """
    ctypes.CDLL(None).syscall(_MEMBARRIER[os.uname().machine], 1, 0, 0)


_MEMBARRIER = {"x86_64": 324, "aarch64": 283}
