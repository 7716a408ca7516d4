"""Which connections may get secrets: by the processes at all their ends.

A connection may pass through several flows, each with two processes: a proxy on this
host passes the same ClientHello on. Its secrets may come from any of these processes,
so it is hopeless only if none of them gives any. A process that gives none may still
pass on what another one sends it in a way that is not captured: over a Unix socket, or
from a container's own network (slirp4netns). So each program has some credit: that many
connections may wait for nothing. Secrets that come from elsewhere, and a ClientHello
that it has passed on, show that a program forwards, and renew its credit.

The engine knows the processes. Each is asked for at the ClientHello; until the answer,
it may give secrets.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from tccap.ipc.channel import GotNoSecrets, MayTrace
from tccap.stream import abi
from tccap.tls.hold import CONNECTIONS_MAX, FLOWS_MAX

CREDIT_OF_UNKNOWN, CREDIT_OF_FORWARDER = 1, 8
PROGRAMS_MAX = PIDS_MAX = 4096


@dataclass
class _Connection:
    flows: set[tuple[int, int]] = field(default_factory=set)  # client, server
    # By pid: whether it may give secrets itself; None: there will be an answer.
    ends: dict[int, bool | None] = field(default_factory=dict)
    got_from_elsewhere: bool = False  # a secret

    def forwarders(self) -> set[int]:
        """Return the processes that pass on what others send, as it shows.

        Those are the server of a flow and the client of another one. If a secret came
        from elsewhere, those that give none are, too.
        """
        clients, servers = ({flow[n] for flow in self.flows} for n in (0, 1))
        silent = {pid for pid, gives in self.ends.items() if gives is False}
        return clients & servers | (silent if self.got_from_elsewhere else set())


class Prospects:
    """The connections and their processes; ``ask`` sends a question about one.

    A program is a number, the same in each answer about a process that runs it.
    """

    def __init__(self, ask: Callable[[MayTrace | GotNoSecrets], None]) -> None:
        self._ask = ask
        self._connections: OrderedDict[int, _Connection] = OrderedDict()
        self._waiting: dict[int, set[int]] = {}  # connections, by the pid asked for
        self._programs: OrderedDict[int, int] = OrderedDict()  # by pid
        self._credit: OrderedDict[int, int] = OrderedDict()  # by program

    def hello(self, number: int, client: int, server: int) -> bool:
        """Add a flow of a connection; return whether it may get secrets.

        Processes are pids, 0 (not known) or `abi.ELSEWHERE`.
        """
        connection = self._connections.setdefault(number, _Connection())
        if len(self._connections) > CONNECTIONS_MAX:
            self._forget_oldest()
        if len(connection.flows) < FLOWS_MAX:
            connection.flows.add((client, server))
            self._add_end(number, connection, client)
            self._add_end(number, connection, server)
            self._learn(connection)
        return self._has_hope(connection)

    def server_hello(self, number: int, client: int, server: int) -> bool:
        """Replace a server by the process that answers; return whether there is hope.

        At the ClientHello it was the listener's owner, which may leave the work to
        others.
        """
        connection = self._connections.get(number)
        if connection is None:
            return True
        if server:
            flows = connection.flows
            connection.flows = {(c, server if c == client else s) for c, s in flows}
            here = {pid for flow in connection.flows for pid in flow}
            for pid in connection.ends.keys() - here:
                del connection.ends[pid]
            self._add_end(number, connection, server)
        return self._has_hope(connection)

    def settle(self, pid: int, may_give: bool, program: int) -> list[int]:
        """Take an answer; return the connections that are hopeless now.

        ``program`` is 0 if it is as it was in the last answer.
        """
        if program:
            self._programs[pid] = program
            self._programs.move_to_end(pid)
        if len(self._programs) > PIDS_MAX:
            self._programs.popitem(last=False)
        hopeless = []
        for number in self._waiting.pop(pid, ()):
            connection = self._connections.get(number)
            if connection and pid in connection.ends:
                connection.ends[pid] = may_give
                self._learn(connection)
                if not self._has_hope(connection):
                    hopeless.append(number)
        return hopeless

    def gave_secret(self, number: int, pid: int) -> None:
        """Note that a process has the secrets of a connection."""
        connection = self._connections.get(number)
        if connection and pid not in connection.ends:
            connection.got_from_elsewhere = True
            self._learn(connection)

    def waited_for_nothing(self, number: int) -> None:
        """Take credit from the programs that a connection has waited for in vain."""
        connection = self._connections.get(number)
        for pid, gives in connection.ends.items() if connection else ():
            program = self._programs.get(pid)
            if gives is False and program:
                self._set_credit(program, max(0, self._credit_of(program) - 1))

    def report_silent(self, number: int, waited_ms: int) -> None:
        """Report the processes that were to give secrets of a connection."""
        connection = self._connections.get(number)
        for pid, gives in connection.ends.items() if connection else ():
            if pid and gives:
                self._ask(GotNoSecrets(pid, waited_ms))

    def _add_end(self, number: int, connection: _Connection, pid: int) -> None:
        if pid == abi.ELSEWHERE or pid in connection.ends:
            return
        connection.ends[pid] = None if pid else True
        if pid:
            self._waiting.setdefault(pid, set()).add(number)
            self._ask(MayTrace(pid))

    def _forget_oldest(self) -> None:
        number, oldest = self._connections.popitem(last=False)
        for pid in oldest.ends:
            waiting = self._waiting.get(pid, set())
            waiting.discard(number)
            if not waiting:
                self._waiting.pop(pid, None)

    def _has_hope(self, connection: _Connection) -> bool:
        return any(
            gives is not False or self._may_forward(pid)
            for pid, gives in connection.ends.items()
        )

    def _may_forward(self, pid: int) -> bool:
        program = self._programs.get(pid)
        return program is not None and self._credit_of(program) > 0

    def _learn(self, connection: _Connection) -> None:
        """Renew the credit of programs that forward."""
        for pid in connection.forwarders():
            program = self._programs.get(pid)
            if program:
                self._set_credit(program, CREDIT_OF_FORWARDER)

    def _credit_of(self, program: int) -> int:
        return self._credit.get(program, CREDIT_OF_UNKNOWN)

    def _set_credit(self, program: int, credit: int) -> None:
        self._credit[program] = credit
        self._credit.move_to_end(program)
        if len(self._credit) > PROGRAMS_MAX:
            self._credit.popitem(last=False)
