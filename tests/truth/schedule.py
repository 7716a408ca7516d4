"""A random schedule of processes and sockets: ``truth.schedule FOLDER STEPS SEED``.

Runs in the captured namespace, while a capture runs. Writes what each packet's label
may say, as JSON.
"""

import json
import random
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from truth.actors import Actors, Address
from truth.model import Model
from truth.network import Network

NETWORK, EXPECTED = "network", "expected"
PROCESSES = 10  # at once; their numbers come round again
SOCKETS_AT_ONCE = 20
# Few, so that ports and pairs come round again.
PORTS = range(21000, 21040)
LISTENERS, SOURCES = range(21100, 21103), range(21200, 21203)


@dataclass(frozen=True)
class Expected:
    """What the labels of some packets may say; a missing part is always right."""

    key: str  # the datagram, or the pair of ports of a connection
    since_ns: int
    until_ns: int
    sender: int  # pid
    receiver: int  # pid; 0: nobody
    history: list[str]


class Schedule:
    """Takes random steps, with real processes and in the model at once."""

    def __init__(self, network: Network, seed: int) -> None:
        self._random = random.Random(seed)
        self._network = network
        self._model = Model()
        self._actors = Actors(PROCESSES)
        self._next_socket = self._next_datagram = 0
        self._addresses: dict[int, Address] = {}
        self._inside: dict[int, bool] = {}  # whether a socket is in the container
        self._unread: dict[int, int] = {}
        self.expected: list[Expected] = []

    def run(self, steps: int) -> None:
        """Take so many steps."""
        self._start()
        actions = (
            *(self._send,) * 8,
            *(self._receive,) * 4,
            *(self._make, self._give, self._close, self._connect) * 2,
            *(self._start, self._fork, self._exit),
        )
        for _ in range(steps):
            self._random.choice(actions)()
        for number in list(self._actors.pids):
            self._actors.end(number)

    def _start(self) -> None:
        number = self._new_process()
        if number is not None:
            self._actors.start(number)
            self._model.start(number)

    def _fork(self) -> None:
        parent, number = self._any_process(), self._new_process()
        if number is not None:
            self._actors.pids[number] = self._actors.do(parent, "fork", number)
            self._model.fork(parent, number)

    def _new_process(self) -> int | None:
        free = [n for n in range(PROCESSES) if n not in self._model.sockets]
        return self._random.choice(free) if free else None

    def _exit(self) -> None:
        if len(self._model.sockets) > 1:
            process = self._any_process()
            self._actors.end(process)
            self._model.exit(process)

    def _make(self) -> None:
        in_use = {self._addresses[sock][1] for sock in self._sockets()}
        if len(in_use) >= SOCKETS_AT_ONCE:
            return
        port = self._random.choice([p for p in PORTS if p not in in_use])
        inside, box = self._random.random() < 0.3, self._network.containers[0]
        space = box.space if inside else self._network.here
        address = (box.far_address if inside else box.near_address, port)
        process, sock = self._any_process(), self._next_socket
        self._next_socket += 1
        self._addresses[sock], self._inside[sock] = address, inside
        self._unread[sock] = 0
        self._actors.do(process, "make", sock, address, space.name)
        self._model.make(process, sock)

    def _send(self) -> None:
        pair, sockets = self._any_held(), self._sockets()
        if not pair:
            return
        process, sock = pair
        target = self._random.choice(sockets)
        if self._unread[target]:
            self._receive_by(self._any_holder(target), target)
        data = b"datagram %d." % self._next_datagram
        self._next_datagram += 1
        self._model.use(process, sock, f"sends {data.decode()}")
        owner = self._model.owner(target)
        history = [*self._model.history[sock], "to", *self._model.history[target]]
        began_ns = time.time_ns()
        self._actors.do(process, "send", sock, data, self._addresses[target])
        self._actors.do(self._any_holder(target), "await_datagram", target)
        self._unread[target] += 1
        self._expect(data.decode(), began_ns, (process, owner), history)

    def _receive(self) -> None:
        pair = self._any_held()
        if pair and self._unread[pair[1]]:
            self._receive_by(*pair)

    def _receive_by(self, process: int, sock: int) -> None:
        self._actors.do(process, "receive", sock)
        self._unread[sock] -= 1
        self._model.use(process, sock, "receives")

    def _give(self) -> None:
        pair, taker = self._any_held(), self._any_process()
        if not pair or pair[1] in self._model.sockets[taker]:
            return
        giver, sock = pair
        self._actors.do(giver, "give", sock, taker)
        self._actors.do(taker, "take", sock)
        self._model.give(giver, taker, sock)

    def _close(self) -> None:
        if pair := self._any_held():
            self._actors.do(pair[0], "close", pair[1])
            self._model.close(*pair)

    def _connect(self) -> None:
        """Have one process ask another, over a pair of ports that was in use before."""
        client, server = self._any_process(), self._any_process()
        if client == server:
            return
        port = self._random.choice(LISTENERS)
        source = self._random.choice(SOURCES)
        history = [f"{server} serves {client}"]
        began_ns = time.time_ns()
        self._actors.do(server, "listen", port)
        self._actors.begin(server, "serve")
        self._actors.do(client, "ask", port, source)
        self._actors.finish(server)
        self._expect(f"{source}-{port}", began_ns, (client, server), history)
        self._expect(f"{port}-{source}", began_ns, (server, client), history)

    def _expect(
        self,
        key: str,
        since_ns: int,
        ends: tuple[int, int | None],
        history: list[str],
    ) -> None:
        pids = self._actors.pids
        sender, receiver = (0 if end is None else pids[end] for end in ends)
        until_ns = time.time_ns()
        names = [f"{number} is {pid}" for number, pid in pids.items()]
        self.expected.append(
            Expected(key, since_ns, until_ns, sender, receiver, [*history, *names])
        )

    def _any_process(self) -> int:
        return self._random.choice(list(self._model.sockets))

    def _any_held(self) -> tuple[int, int] | None:
        held = [(p, s) for p, has in self._model.sockets.items() for s in sorted(has)]
        return self._random.choice(held) if held else None

    def _any_holder(self, sock: int) -> int:
        return self._random.choice(sorted(self._model.holders(sock)))

    def _sockets(self) -> list[int]:
        return sorted(set().union(*self._model.sockets.values()))


def main() -> None:
    """Run a schedule and write what is expected."""
    folder, steps, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    network = Network.from_json((folder / NETWORK).read_text())
    schedule = Schedule(network, seed)
    schedule.run(steps)
    made = [asdict(one) for one in schedule.expected]
    (folder / EXPECTED).write_text(json.dumps(made))


if __name__ == "__main__":
    main()
