"""The devices of this network namespace, and what is behind its veth pairs."""

from typing import NamedTuple

from tccap.host import netlink
from tccap.owners import links, namespaces
from tccap.owners.links import Link
from tccap.owners.namespaces import FarNamespace


class Neighbourhood(NamedTuple):
    """What the kernel says at one moment; namespaces by the ids that ours has."""

    links: list[Link]
    far: dict[int, FarNamespace]  # to which veth pairs lead
    # Their devices that have to do with no VRF, by ifindex.
    outside_vrfs: dict[int, dict[int, Link]]


def read(here: netlink.Connection) -> Neighbourhood:
    """Return it; OSError if the kernel does not answer."""
    found = list(links.read(here))
    leads_to = {link.far_namespace for link in found} - {-1}
    return Neighbourhood(
        links=found,
        far=namespaces.far(here) if leads_to else {},
        outside_vrfs={number: links.outside_vrfs(here, number) for number in leads_to},
    )
