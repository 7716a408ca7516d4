"""What is around each network device, which decides whose its packets can be.

Containers come and go, and get their devices while a capture runs: this is read again
whenever devices or addresses change.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from tccap.host import netlink
from tccap.ipc.status import log
from tccap.owners import links, neighbourhood, translation
from tccap.owners.neighbourhood import Neighbourhood
from tccap.owners.translation import Translation
from tccap.stream import abi

_TRANSLATED = (
    "Addresses are translated (NAT) in this network namespace: on other devices than "
    "lo, datagrams for sockets that are not connected, and the first packets of "
    "connections, have no receiver."
)


class Surroundings(NamedTuple):
    """What is around a device."""

    far_namespace: int = -1  # id of the namespace of a veth's other end; -1: none
    far_netns: int = 0  # its inode number
    far_ifindex: int = 0  # of that other end; 0: none
    translation: int = 0  # in this namespace
    far_translation: int = 0
    is_lower: bool = False  # others receive what arrives here
    from_here: bool = False  # what arrives may come from this host
    master: int = 0  # the bridge or bond to which it belongs
    vrf: int = 0  # to which it, or that, belongs
    below_vrf: int = 0  # whether members of VRFs receive by it: abi.BELOW, ...
    others_from_here: bool = False  # so may what arrives for other stations
    far_in_vrf: bool = False  # that other end belongs to a VRF there, or may


class Survey:
    """Reads the surroundings of devices, again and again.

    Entering a container's namespace takes CAP_SYS_ADMIN, which the engine gives up when
    packets flow: of namespaces that come later it is not known what they translate.
    """

    def __init__(self) -> None:
        self._found = Neighbourhood([], {}, {})
        self._here = translation.NONE
        self._there: dict[int, Translation] = {}  # by inode number

    def read(self) -> dict[int, Surroundings]:
        """Return the surroundings of every device by its ifindex.

        Empty where the kernel does not say.
        """
        try:
            with netlink.connect() as here:
                self._found = neighbourhood.read(here)
        except OSError as error:
            log(
                "info",
                f"Bridges and containers of the devices cannot be read: {error}.",
            )
            return {}
        self._read_here()
        far = self._found.far.values()
        found = {each.inode: translation.there(each.path) for each in far}
        self._there = {
            inode: new or self._there.get(inode, translation.UNKNOWN)
            for inode, new in found.items()
        }
        return dict(self._surroundings())

    def rules_changed(self, sources: set[int] | None) -> dict[int, Surroundings]:
        """Return the surroundings after a change of rules in namespaces, by their ids.

        None stands for all of them. It is faster than `read`: packets wait for nobody.
        """
        self._read_here()
        for number, other in self._found.far.items():
            if sources is None or number in sources:
                found = translation.there(other.path)
                self._there[other.inode] = found or translation.UNKNOWN
        return dict(self._surroundings())

    def _read_here(self) -> None:
        before, self._here = self._here, translation.here()
        translates = self._here.of_destinations or self._here.of_sources
        if self._here != before and translates:
            log("info", _TRANSLATED)

    def _surroundings(self) -> Iterator[tuple[int, Surroundings]]:
        ports = defaultdict(set)
        all_links = self._found.links
        for link in all_links:
            ports[link.master].add(link.kind)
        lower = {link.lower for link in all_links}
        below = {link.lower for link in all_links if link.kind in links.SHARING}
        vrfs = links.vrfs(all_links)
        below_vrfs = links.below_vrfs(all_links)
        pairs = {link.ifindex for link in all_links if link.kind in links.PAIRS}
        for link in all_links:
            far = self._found.far.get(link.far_namespace)
            there = self._there[far.inode] if far else translation.UNKNOWN
            is_far = link.far_namespace >= 0
            outside_vrfs = self._found.outside_vrfs.get(link.far_namespace, {})
            yield (
                link.ifindex,
                Surroundings(
                    far_namespace=link.far_namespace,
                    far_netns=far.inode if far else 0,
                    far_ifindex=link.far_ifindex,
                    translation=flags(self._here, link.ifindex),
                    far_translation=flags(there, link.far_ifindex),
                    is_lower=link.master > 0 or link.ifindex in lower,
                    from_here=link.ifindex in pairs
                    or not links.PAIRS.isdisjoint(ports[link.ifindex])
                    or link.lower in pairs
                    or link.kind in links.SHARING,
                    master=link.master,
                    vrf=vrfs.get(link.ifindex, 0),
                    below_vrf=below_vrfs.get(link.ifindex, 0),
                    others_from_here=link.ifindex in below,
                    far_in_vrf=is_far and link.far_ifindex not in outside_vrfs,
                ),
            )


def flags(found: Translation, ifindex: int) -> int:
    """Return it for a device as the programs have it: TRANSLATED_... of bpf/abi.h."""
    destinations = abi.TRANSLATED_DESTINATIONS if found.of_destinations else 0
    sources = abi.TRANSLATED_SOURCES if found.of_sources else 0
    is_changed = found.to_servers or ifindex in found.devices
    changed = abi.CHANGED_AT_DEVICE if is_changed else 0
    return destinations | sources | changed
