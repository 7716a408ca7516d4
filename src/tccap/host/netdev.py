"""The network devices and their types, by the cheapest system calls.

Wireshark runs the front once for every device at its start, so this uses neither
netlink nor ctypes, and of Python's socket module only its core, which is imported in a
tenth of the time. Nor does it read /sys, which may show another network namespace than
ours.
"""

import _socket
import fcntl
import os
import struct

# include/uapi/linux/sockios.h
SIOCGIFNETMASK, SIOCGIFHWADDR = 0x891B, 0x8927


def device_names() -> list[str]:
    """Return the names of all network devices, in the kernel's order."""
    return [name for _, name in _socket.if_nameindex()]


def own_name(device: str) -> str:
    """Return a device's own name, given it or an alternative one (`ip link property`).

    Of alternative names, the kernel finds those of up to 15 bytes here.
    """
    try:
        return _socket.if_indextoname(_socket.if_nametoindex(device))
    except OSError:
        return device


def hardware_type(device: str) -> int | None:
    """Return the device's ARPHRD_* type; None: there is no such device."""
    answer = _ask(SIOCGIFHWADDR, device)
    return int(struct.unpack_from("=H", answer)[0]) if answer else None


def netmask(device: str) -> int | None:
    """Return the netmask of the device's first IPv4 address; None: it has none."""
    answer = _ask(SIOCGIFNETMASK, device)
    return int(struct.unpack_from("!4xI", answer)[0]) if answer else None


def _ask(request: int, device: str) -> bytes:
    """Return the struct sockaddr that the kernel answers with; empty if it refuses."""
    name = os.fsencode(device)[:15]
    any_socket = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    try:
        answer = fcntl.ioctl(any_socket, request, struct.pack("16s24x", name))
    except OSError:
        return b""
    finally:
        any_socket.close()
    return answer[16:]  # behind the name in struct ifreq
