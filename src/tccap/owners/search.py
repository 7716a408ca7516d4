"""Looking for the owners of all sockets that are open."""

from tccap.bpf.collection import Collection
from tccap.ipc.plan import Plan
from tccap.owners import wanted
from tccap.owners.socket_iterator import SocketIterator


class Search:
    """Each `run` records the owners of the sockets that are open at that moment."""

    def __init__(self, plan: Plan, collection: Collection) -> None:
        self._plan = plan
        self._collection = collection
        self._iterator = SocketIterator(collection)

    def run(self) -> None:
        """Search; the kernel must know which processes are wanted before."""
        wanted.fill_descendants(self._plan, self._collection)
        self._iterator.run()
