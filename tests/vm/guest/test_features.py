"""The kernel features that captures need, each tried directly."""

import ctypes
import os
import platform
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tccap.bpf import btf, btfattach, features
from tccap.bpf.uapi import AttachType
from tccap.owners import hooks

REPO = Path(__file__).resolve().parents[3]
RELEASE = platform.release()
SERIES = tuple(int(number) for number in RELEASE.split(".")[:2])

PROGRAMS = b"""
BPF_RINGBUF_OUTPUT(ring, 8);

int on_sendto(struct pt_regs *ctx)
{
    u32 tid = bpf_get_current_pid_tgid();
    ring.ringbuf_output(&tid, sizeof(tid), 0);
    return 0;
}

int classify(struct __sk_buff *skb)
{
    u32 length = skb->len;
    ring.ringbuf_output(&length, sizeof(length), 0);
    return -1; /* TC_ACT_UNSPEC, TCX_NEXT */
}
"""


class Ring:
    """The programs, compiled once for all tests, and the records of their ring."""

    def __init__(self) -> None:
        os.environ["BCC_KERNEL_SOURCE"] = str(REPO / "bpf")
        from bcc import BPF  # noqa: PLC0415  importing takes seconds here

        self.types = BPF
        self.bpf: Any = BPF(text=PROGRAMS)
        self._received: list[int] = []
        self.bpf[b"ring"].open_ring_buffer(self._take)

    def _take(self, _context: object, data: Any, _size: int) -> None:
        self._received.append(ctypes.cast(data, ctypes.POINTER(ctypes.c_uint32))[0])

    def received(self) -> list[int]:
        """Return all records since the last call, at least one within 10 s."""
        self.bpf.ring_buffer_poll(10_000)
        received, self._received = self._received, []
        return received


@pytest.fixture(scope="module")
def ring() -> Iterator[Ring]:
    ring = Ring()
    yield ring
    ring.bpf.cleanup()


@pytest.fixture(scope="module")
def netlink() -> Iterator[Any]:
    from pyroute2 import IPRoute  # noqa: PLC0415  importing takes seconds here

    with IPRoute() as netlink:
        yield netlink


@pytest.fixture
def veth(netlink: Any) -> Iterator[int]:
    """A veth pair that is up; packets sent on one end leave through it."""
    netlink.link("add", ifname="tccap0", kind="veth", peer={"ifname": "tccap1"})
    index: int = netlink.link_lookup(ifname="tccap0")[0]
    for name in ("tccap0", "tccap1"):
        netlink.link("set", index=netlink.link_lookup(ifname=name)[0], state="up")
    yield index
    netlink.link("del", index=index)


def send_frame(length: int) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind(("tccap0", 0))
        sender.send(b"\xff" * 12 + b"\x88\xb5" + bytes(length - 14))


def test_the_kernel_is_the_wanted_one() -> None:
    assert os.environ["TCCAP_VM_RELEASE"] == RELEASE


def test_a_kprobe_reports_through_a_ring_buffer(ring: Ring) -> None:
    ring.bpf.attach_kprobe(event=b"__sys_sendto", fn_name=b"on_sendto")
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"x", ("127.0.0.1", 9))
        assert os.getpid() in ring.received()
    finally:
        ring.bpf.detach_kprobe(event=b"__sys_sendto", fn_name=b"on_sendto")


def test_hooks_have_fentry_where_that_is_preferred() -> None:
    chosen = hooks.with_fentry(features.symbols(*hooks.FUNCTIONS), needed=False)
    assert {"inet_sock_destruct", "commit_creds", "inet_sendmsg"} <= {*chosen}
    ids = btf.functions(*chosen)
    assert [
        name
        for name in chosen
        if not btfattach.is_supported(AttachType.TRACE_FENTRY, ids[name])
    ] == []


def test_a_clsact_filter_sees_packets(ring: Ring, netlink: Any, veth: int) -> None:
    classifier = ring.bpf.load_func(b"classify", ring.types.SCHED_CLS)
    netlink.tc("add", "clsact", veth)
    netlink.tc(
        "add-filter",
        "bpf",
        veth,
        ":1",
        fd=classifier.fd,
        name="classify",
        parent="ffff:fff3",
        classid=1,
        direct_action=True,
    )
    send_frame(321)
    assert 321 in ring.received()


@pytest.mark.skipif(SERIES < (6, 6), reason="TCX came with Linux 6.6")
def test_a_tcx_link_sees_packets_and_detaches(ring: Ring, veth: int) -> None:
    classifier = ring.bpf.load_func(b"classify", ring.types.SCHED_CLS)
    link = create_tcx_link(classifier.fd, veth)
    send_frame(432)
    assert 432 in ring.received()
    os.close(link)


def create_tcx_link(program: int, interface: int) -> int:
    """Attach a program to an interface's egress; the link ends with its descriptor."""
    bpf_link_create, bpf_tcx_egress = 28, 47
    attributes = (ctypes.c_uint32 * 12)(program, interface, bpf_tcx_egress)
    libc = ctypes.CDLL(None, use_errno=True)
    number = {"x86_64": 321, "aarch64": 280}[platform.machine()]
    link = libc.syscall(
        number, bpf_link_create, ctypes.byref(attributes), ctypes.sizeof(attributes)
    )
    if link < 0:
        raise OSError(ctypes.get_errno(), "BPF_LINK_CREATE")
    return int(link)
