"""What the front asks the kernel about network devices, cheaply.

Wireshark runs the front once for every device at its start, so this goes
without netlink and without sysfs: the socket calls see the network namespace
that we are in, whatever is mounted on /sys.
"""

import fcntl
import socket
import struct

SIOCGIFHWADDR = 0x8927  # include/uapi/linux/sockios.h


def device_names() -> list[str]:
    """Return the names of all network devices, in the kernel's order."""
    return [name for _, name in socket.if_nameindex()]


def hardware_type(device: str) -> int | None:
    """Return the device's ARPHRD_* type, None if there is no such device."""
    name = device.encode()[:15]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            answer = fcntl.ioctl(any_socket, SIOCGIFHWADDR, struct.pack("16s24x", name))
        except OSError:
            return None
    # struct ifreq: 16 bytes of name, then a struct sockaddr.
    return int(struct.unpack_from("=H", answer, 16)[0])
