"""Which process a datagram socket belongs to, as a model of a few rules.

- A socket belongs to the process that used it last: made it, sent or received by it.
- If that process has no descriptor of it any more, the socket belongs to the only
  process that has one; if there are several, to nobody.
"""

from collections import defaultdict


class Model:
    """The processes, and the sockets that they have, both by numbers."""

    def __init__(self) -> None:
        self.sockets: dict[int, set[int]] = defaultdict(set)  # of each process
        self._user: dict[int, int] = {}  # of each socket
        self.history: dict[int, list[str]] = defaultdict(list)

    def start(self, process: int) -> None:
        """Have a first process without sockets."""
        self.sockets[process] = set()

    def make(self, process: int, sock: int) -> None:
        """Have a process make a socket and bind it."""
        self.sockets[process].add(sock)
        self.use(process, sock, "makes")

    def use(self, process: int, sock: int, how: str) -> None:
        """Have a process send, or receive."""
        assert sock in self.sockets[process]
        self._user[sock] = process
        self._note(sock, f"{process} {how}")

    def give(self, giver: int, taker: int, sock: int) -> None:
        """Pass a descriptor on; the giver keeps its own."""
        assert sock in self.sockets[giver]
        self.sockets[taker].add(sock)
        self._note(sock, f"{giver} gives to {taker}")

    def close(self, process: int, sock: int) -> None:
        """Have a process close its descriptor."""
        self.sockets[process].remove(sock)
        self._note(sock, f"{process} closes")

    def fork(self, parent: int, child: int) -> None:
        """Have a child that inherits all descriptors."""
        self.sockets[child] = set(self.sockets[parent])
        for sock in self.sockets[parent]:
            self._note(sock, f"{parent} forks {child}")

    def exit(self, process: int) -> None:
        """Have a process end."""
        for sock in self.sockets.pop(process):
            self._note(sock, f"{process} exits")

    def holders(self, sock: int) -> set[int]:
        """Return the processes that have a descriptor of the socket."""
        return {process for process, has in self.sockets.items() if sock in has}

    def owner(self, sock: int) -> int | None:
        """Return the process that the socket belongs to; None: nobody."""
        holders = self.holders(sock)
        if self._user[sock] in holders:
            return self._user[sock]
        return holders.pop() if len(holders) == 1 else None

    def _note(self, sock: int, event: str) -> None:
        self.history[sock].append(event)
