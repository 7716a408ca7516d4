"""Connections whose packets wait because it is not known yet who may give secrets."""

from tccap.tls.hold import CONNECTIONS_MAX


class Pending:
    """The client randoms of connections, and the processes that were asked for."""

    def __init__(self) -> None:
        self._asked: dict[bytes, set[int]] = {}
        self._connections: dict[int, list[bytes]] = {}  # by pid

    def __bool__(self) -> bool:
        return bool(self._asked)

    def add(self, client_random: bytes, pids: set[int]) -> None:
        """Have a connection wait for the answers about these processes."""
        if len(self._asked) == CONNECTIONS_MAX or client_random in self._asked:
            return
        self._asked[client_random] = pids
        for pid in pids:
            self._connections.setdefault(pid, []).append(client_random)

    def settle(self, pid: int, *, may_give: bool) -> list[bytes]:
        """Take an answer; return the connections to which nobody gives secrets."""
        hopeless = []
        for client_random in self._connections.pop(pid, ()):
            pids = self._asked.get(client_random)
            if pids is None:
                continue
            pids.discard(pid)
            if may_give or not pids:
                del self._asked[client_random]
            if not may_give and not pids:
                hopeless.append(client_random)
        return hopeless
