"""The containers and units that use the network, as a person chooses from a list."""

from collections import Counter
from functools import partial

from tccap.host import cgrouppath, cgroups, processlist
from tccap.host.cgrouppath import Place
from tccap.host.containernames import Files

# A choice is a word of a filter, this sign, and a name or id: unit=nginx.service.
SIGN = "="


def with_network_sockets() -> list[tuple[str, str]]:
    """Return choices and their texts, those with most sockets first.

    They are those of the processes whose sockets we may see, with the names that we
    may read.
    """
    hierarchy, sockets = cgroups.find(), Counter[Place]()
    owner_of = partial(cgroups.owner, hierarchy)
    for listed in processlist.with_network_sockets():
        path = cgroups.path_of(listed.pid, hierarchy)
        sockets[cgrouppath.parse(path, owner_of)] += listed.sockets
    found = [(_choice(place), place, count) for place, count in sockets.most_common()]
    return [
        (choice, processlist.printable(f"{_text(place)}, {_counted(count)}"))
        for choice, place, count in found
        if choice and choice.isprintable() and not set(choice) & set("{},*?[")
    ]


def _choice(place: Place) -> str:
    """Return a choice; empty where there is neither a container nor a unit."""
    if container := place.container or place.name:
        return f"container{SIGN}{container}"
    return f"unit{SIGN}{place.unit}" if place.unit else ""


def _text(place: Place) -> str:
    names = Files().names(place)
    parts = [part for part in (names.namespace, names.pod, names.name) if part]
    if place.container:
        name = "/".join(parts) or place.container[:12]
        return f"container {name}"
    return f"container {place.name}" if place.name else f"unit {place.unit}"


def _counted(count: int) -> str:
    return f"{count} socket{'s' * (count > 1)}"
