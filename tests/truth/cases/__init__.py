"""Ways to use sockets, each with ports of its own.

Importing the package enters all cases into `registry.CASES`.
"""

from truth.cases import (
    bound_there,
    chosen,
    chosen_sockets,
    containers,
    crowded,
    descriptors,
    gone,
    groups,
    icmp,
    lite,
    local_networks,
    namespaces,
    older_sockets,
    other_hosts,
    processes,
    tcp,
    tracked,
    translated,
    udp,
    uncommon,
    vrfs,
)

__all__ = [
    "bound_there",
    "chosen",
    "chosen_sockets",
    "containers",
    "crowded",
    "descriptors",
    "gone",
    "groups",
    "icmp",
    "lite",
    "local_networks",
    "namespaces",
    "older_sockets",
    "other_hosts",
    "processes",
    "tcp",
    "tracked",
    "translated",
    "udp",
    "uncommon",
    "vrfs",
]
