"""The rows of the table: who asks whom, by which way, and whose each packet is then.

Each row has a number, and ports of its own by that. A published port is the host's
number for a port inside; translation makes the one of the other, or a process that
passes on what it gets (docker-proxy).
"""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from containers.host import ADDRESSES, CARD, OUTSIDE, Host
from containers.runtimes import Container, Runtime
from support import running

SERVES, OTHER_SERVES, ASKS = "serve-1", "serve-2", "ask"
FAR_SERVES, FAR_ASKS, NEAR_ASKS = "serve-far", "ask-far", "ask-near"
PROGRAMS = (SERVES, OTHER_SERVES, ASKS, FAR_SERVES, FAR_ASKS, NEAR_ASKS)
PROTOCOLS = "tcp", "udp"
COUNT = 12
INSIDE, PUBLISHED, OF_OTHER, FAR = 8100, 18100, 18200, 9100
LO = "127.0.0.1"
DEVICES = {OUTSIDE: "another host", CARD: "another host by a card"}


class End(NamedTuple):
    """The process at an end; None stands for one of another host."""

    comm: str
    container: Container | None = None
    pid: int = 0  # unless it ends with the exchange


class PassesOn(NamedTuple):
    """Which processes pass on what containers get, and what they send."""

    inwards: str = ""
    outwards: str = ""


Ends = tuple[End | None, End | None]  # who asks, and who answers
ByPort = dict[tuple[str, int], Ends]
Way = Callable[[int, End | None], ByPort]


@dataclass(frozen=True)
class Row:
    """An exchange: what asks, and whose its packets are, by the port that is asked.

    An address is that of the container with the port; empty: any.
    """

    title: str
    protocol: str
    command: list[str]
    ends: ByPort


class Rows:
    """Makes the rows of a host with two containers."""

    def __init__(
        self,
        host: Host,
        runtime: Runtime,
        boxes: tuple[Container, Container],
        passes_on: PassesOn,
    ) -> None:
        self._host = host
        self._runtime = runtime
        self._one, self._two = boxes
        self._proxy, self._gateway = map(End, passes_on)
        self._serves = End(self._one.comm, self._one, self._one.pid)

    def bridged(self, *, proxied: tuple[str, ...] = ()) -> Iterator[Row]:
        """Yield those of containers with addresses behind a bridge.

        The ways in ``proxied`` lead through the proxy.
        """
        for protocol in PROTOCOLS:
            yield from self._published(protocol, self._direct)
            yield from self._own(protocol, None)
            yield from self._beside(protocol)
            for number, way, command, asks in self._turns(protocol):
                ends = self._passed_on if way in proxied else self._direct
                yield Row(
                    f"published port, {way}", protocol, command, ends(number, asks)
                )

    def unbridged(self) -> Iterator[Row]:
        """Yield those of a container whose network is a process of its user."""
        for protocol in PROTOCOLS:
            yield from self._published(protocol, self._passed_on)
            yield from self._own(protocol, self._gateway)
            command, asks = self._here(protocol, LO, PUBLISHED + 5), End(NEAR_ASKS)
            ends = self._passed_on(5, asks)
            yield Row("published port, from the host's lo", protocol, command, ends)

    def by_lo(
        self, asks: Container, serves: Container, port: int, title: str
    ) -> Iterator[Row]:
        """Yield what is asked in a container at its own ``lo``."""
        for protocol in PROTOCOLS:
            command = self._inside(asks, protocol, LO, port)
            ends: ByPort = {
                (LO, port): (End(ASKS, asks), End(serves.comm, serves, serves.pid))
            }
            yield Row(title, protocol, command, ends)

    def _published(self, protocol: str, ends: Way) -> Iterator[Row]:
        for number, (device, name) in enumerate(DEVICES.items(), 1):
            asks = End(FAR_ASKS) if device == OUTSIDE else None
            address = ADDRESSES[device][0]
            ask = self._command(FAR_ASKS, protocol, address, PUBLISHED + number)
            command = self._host.remotes[device].command(*ask)
            title = f"published port, from {name}"
            yield Row(title, protocol, command, ends(number, asks))

    def _own(self, protocol: str, instead: End | None) -> Iterator[Row]:
        for number, (device, name) in enumerate(DEVICES.items(), 3):
            serves = End(FAR_SERVES) if device == OUTSIDE else None
            address, port = ADDRESSES[device][1], FAR + number
            command = self._inside(self._one, protocol, address, port)
            asks = instead or End(ASKS, self._one)
            ends: ByPort = {("", port): (asks, serves)}
            yield Row(f"own connection to {name}", protocol, command, ends)

    def _beside(self, protocol: str) -> Iterator[Row]:
        """Yield what is asked at a container's address, and a port that both have."""
        address, port = self._one.address, INSIDE + 5
        command = self._inside(self._two, protocol, address, port)
        ends: Ends = End(ASKS, self._two), self._serves
        yield Row("container to container", protocol, command, {("", port): ends})
        command, port = self._here(protocol, address, INSIDE + 6), INSIDE + 6
        ends = End(NEAR_ASKS), self._serves
        yield Row("host to container", protocol, command, {("", port): ends})
        for first, box in ((PUBLISHED, self._one), (OF_OTHER, self._two)):
            outer, inner = first + 7, INSIDE + 7
            ask = self._command(FAR_ASKS, protocol, ADDRESSES[CARD][0], outer)
            command = self._host.remotes[CARD].command(*ask)
            ends = None, End(box.comm, box, box.pid)
            by_port: ByPort = {("", outer): ends, (box.address, inner): ends}
            yield Row(f"one port in two, {box.name}", protocol, command, by_port)

    def _turns(self, protocol: str) -> Iterator[tuple[int, str, list[str], End]]:
        """Yield number, way, command and who asks, of a published port."""
        address, near = ADDRESSES[OUTSIDE][0], End(NEAR_ASKS)
        yield 8, "from the host's lo", self._here(protocol, LO, PUBLISHED + 8), near
        command = self._here(protocol, address, PUBLISHED + 9)
        yield 9, "from the host", command, near
        for number, box, way in (
            (10, self._two, "another"),
            (11, self._one, "its own"),
        ):
            command = self._inside(box, protocol, box.gateway, PUBLISHED + number)
            yield number, f"from {way} container", command, End(ASKS, box)

    def _direct(self, number: int, asks: End | None) -> ByPort:
        ends = asks, self._serves
        return {("", PUBLISHED + number): ends, ("", INSIDE + number): ends}

    def _passed_on(self, number: int, asks: End | None) -> ByPort:
        return {
            ("", PUBLISHED + number): (asks, self._proxy),
            ("", INSIDE + number): (self._proxy, self._serves),
        }

    def _here(self, protocol: str, address: str, port: int) -> list[str]:
        return self._host.command(*self._command(NEAR_ASKS, protocol, address, port))

    def _inside(
        self, box: Container, protocol: str, address: str, port: int
    ) -> list[str]:
        ask = (f"/bin/{ASKS}", protocol, address, str(port), f"{protocol} {port}")
        return self._runtime.inside(box, *ask)

    def _command(self, name: str, protocol: str, address: str, port: int) -> list[str]:
        program = str(self._host.image / "bin" / name)
        return [program, protocol, address, str(port), f"{protocol} {port}"]


def ask_all(made: Host, every: list[Row]) -> Iterator[str]:
    """Run the rows one after the other; yield those that failed."""
    with contextlib.ExitStack() as stack:
        for remote in made.remotes.values():
            ports = [str(FAR + number) for number in range(COUNT)]
            server = [str(made.image / "bin" / FAR_SERVES), *ports]
            process = stack.enter_context(running.started(remote.command(*server)))
            assert process.stdout
            assert process.stdout.readline() == b"serving\n"
        for row in every:
            done = subprocess.run(row.command, check=False, capture_output=True)
            if done.returncode:
                yield f"{row.title} {row.protocol}"
