"""The engine's share in finding owners: what takes its rights."""

import time
from collections.abc import Iterator

from tccap.bpf.collection import Collection
from tccap.ipc.channel import Message, Search, Searched, Seen
from tccap.ipc.plan import Plan
from tccap.owners import wanted
from tccap.owners.addresses import LocalAddresses
from tccap.owners.cgroups import Cgroups
from tccap.owners.container_addresses import ContainerAddresses
from tccap.owners.occupied import Insiders
from tccap.owners.processes import FullLabels
from tccap.owners.socket_iterator import SocketIterator


class SocketSearch:
    """Each `run` records the owners of the sockets that are open at that moment."""

    def __init__(self, plan: Plan, collection: Collection, places: Cgroups) -> None:
        self._plan = plan
        self._collection = collection
        self._is_in_place = places.are_chosen if plan.places else _anywhere
        self._iterator = SocketIterator(collection)

    def run(self) -> None:
        """Search; the kernel must know which processes are wanted before."""
        wanted.fill_descendants(self._plan, self._collection, self._is_in_place)
        self._iterator.run()


class OwnersService:
    """Keeps the kernel's tables current, and answers the carrier."""

    requests = frozenset({Seen, Search})

    def __init__(
        self,
        tables: tuple[LocalAddresses, ContainerAddresses],
        places: Cgroups,
        search: SocketSearch,
        labels: FullLabels,
        insiders: Insiders,
    ) -> None:
        self.insiders = insiders
        self.news_fd: int | None = places.fileno()
        self._tables = tables
        self._places = places
        self._search = search
        self._labels = labels

    def answer(self, request: Message) -> Iterator[Message]:
        """Complete the record of a process, or search for sockets."""
        if isinstance(request, Seen):
            self._labels.complete(request)
        elif isinstance(request, Search):
            started = time.thread_time()
            self._search.run()
            yield Searched(time.thread_time() - started)

    def take(self) -> Iterator[Message]:
        """Enter new cgroups; the carrier need not know."""
        self._places.take()
        return iter(())

    def addresses_changed(self) -> None:
        """Update the kernel's tables of this host's and its containers' addresses."""
        for table in self._tables:
            table.refresh()

    def close(self) -> None:
        """Release the descriptors for new cgroups: hooks go with the process."""
        self._places.close()


def _anywhere(_pid: int) -> bool:
    return True
