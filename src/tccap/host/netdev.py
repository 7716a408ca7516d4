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

SIOCGIFHWADDR = 0x8927  # include/uapi/linux/sockios.h


def device_names() -> list[str]:
    """Return the names of all network devices, in the kernel's order."""
    return [name for _, name in _socket.if_nameindex()]


def hardware_type(device: str) -> int | None:
    """Return the device's ARPHRD_* type; None: there is no such device."""
    name = os.fsencode(device)[:15]
    any_socket = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    try:
        answer = fcntl.ioctl(any_socket, SIOCGIFHWADDR, struct.pack("16s24x", name))
    except OSError:
        return None
    finally:
        any_socket.close()
    # struct ifreq: 16 bytes of name, then a struct sockaddr.
    return int(struct.unpack_from("=H", answer, 16)[0])
