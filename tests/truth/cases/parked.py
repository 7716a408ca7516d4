"""Segments that leave by another one's hand while their process is busy."""

import ctypes
import fcntl
import mmap
import os
import select
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from support.netns import Namespace
from truth.cases.registry import CaseContext, case
from truth.network import Container
from truth.sockets import ANY4, TIMEOUT_S, tcp
from truth.workers import Script, Worker, kill_all

_libc = ctypes.CDLL(None, use_errno=True)
# include/uapi/linux/userfaultfd.h
USERFAULTFD = {"x86_64": 323, "aarch64": 282}
UFFDIO_API, UFFDIO_REGISTER, UFFDIO_ZEROPAGE = 0xC018AA3F, 0xC020AA00, 0xC020AA04
UFFD_API, REGISTER_MODE_MISSING = 0xAA, 1


class AbsentPage:
    """A page of memory that is not there: who reads it waits until it is."""

    def __init__(self) -> None:
        self.page = mmap.mmap(-1, mmap.PAGESIZE)
        here = ctypes.c_char.from_buffer(self.page)
        self._at = ctypes.addressof(here)
        del here
        self._fd = _libc.syscall(USERFAULTFD[os.uname().machine], os.O_CLOEXEC)
        assert self._fd >= 0, os.strerror(ctypes.get_errno())
        fcntl.ioctl(self._fd, UFFDIO_API, struct.pack("=3Q", UFFD_API, 0, 0))
        self._control(UFFDIO_REGISTER, REGISTER_MODE_MISSING)

    def wait_for_reader(self) -> None:
        """Return when somebody waits for the page."""
        ready = select.poll()
        ready.register(self._fd, select.POLLIN)
        assert ready.poll(1000 * TIMEOUT_S)

    def come(self) -> None:
        """Have the page there, full of zeroes."""
        self._control(UFFDIO_ZEROPAGE, 0)

    def _control(self, request: int, mode: int) -> None:
        fields = struct.pack("=4Q", self._at, mmap.PAGESIZE, mode, 0)
        fcntl.ioctl(self._fd, request, fields)


@contextmanager
def unresolved(here: Namespace, box: Container) -> Iterator[None]:
    """Have the address of a container's device unknown while the block runs."""
    setting = "net.ipv4.conf.eth0.arp_ignore"
    link = box.space.ip("-o", "link", "show", "eth0")
    station = link.split("link/ether ")[1].split()[0]
    neighbour = (box.far_address, "lladdr", station, "dev", box.device)
    box.space.run("sysctl", "-qw", f"{setting}=8")
    here.ip("neigh", "del", *neighbour)
    try:
        yield
    finally:
        here.ip("neigh", "replace", *neighbour)
        box.space.run("sysctl", "-qw", f"{setting}=0")
        here.ip("neigh", "del", *neighbour)


@case
def segment_that_waits_for_a_neighbour(context: CaseContext) -> None:
    """It leaves in a call of who says where the neighbour is."""

    def asks() -> Script:
        context.claim("tcp", remote=port)
        with tcp(ANY4) as connection:
            connection.connect((box.far_address, port))
            yield
            connection.sendall(b"question")
            absent = AbsentPage()
            sending = threading.Thread(target=connection.sendall, args=(absent.page,))
            sending.start()
            absent.wait_for_reader()
            yield
            absent.come()
            sending.join()
            yield
            assert connection.recv(100)
            yield

    box, port = context.network.containers[0], context.port()
    with box.space.entered():
        server = Worker(context.scripts.server(port, ANY4))
    server.step()
    client = Worker(asks())
    client.step()
    server.step()
    with unresolved(context.network.here, box):
        client.step()
    client.step()
    server.step()
    client.step()
    kill_all()
