"""Ways to use sockets, each with ports of its own.

Importing the package enters all cases into `registry.CASES`.
"""

from truth.cases import (
    chosen,
    containers,
    crowded,
    descriptors,
    gone,
    icmp,
    namespaces,
    older_sockets,
    processes,
    tcp,
    translated,
    udp,
)

__all__ = [
    "chosen",
    "containers",
    "crowded",
    "descriptors",
    "gone",
    "icmp",
    "namespaces",
    "older_sockets",
    "processes",
    "tcp",
    "translated",
    "udp",
]
