"""The list of cases, and what each case is given."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from truth.claims import ClaimLog
from truth.network import Network
from truth.scripts import Scripts
from truth.sockets import mptcp

# Below net.ipv4.ip_local_port_range: connect(2) chooses none of these.
PORTS = range(20000, 32768)

Case = Callable[["CaseContext"], Iterator[None] | None]
CASES: dict[str, Case] = {}
LAST: list[str] = []  # names of those cases that leave something behind


class CaseContext:
    """The network, the log of claims, and ports for the cases of one run.

    ``capture`` is the file of the running capture.
    """

    def __init__(
        self, network: Network, log: ClaimLog, many: int, capture: Path
    ) -> None:
        self.network = network
        self.capture = capture
        self.many = many
        self.log = log
        self.claim = log.claim
        self.scripts = Scripts(log)
        self._ports = iter(PORTS)

    def port(self) -> int:
        """Return a port, or ICMP identifier, that no other case uses."""
        return next(self._ports)

    def lacks(self, facility: str) -> None:
        """Print what the kernel lacks for a case, which then shows nothing."""
        sys.stderr.write(f"{self.log.case} is not shown: no {facility}\n")

    def has_multipath(self) -> bool:
        """Return whether the kernel has Multipath TCP."""
        try:
            mptcp().close()
        except OSError as error:
            self.lacks(f"Multipath TCP: {error.strerror}")
            return False
        return True


def case(function: Case) -> Case:
    """Enter a case into the list, under its name with hyphens.

    A case may be a generator: its first step then runs before the capture starts,
    the rest while the capture runs.
    """
    CASES[function.__name__.replace("_", "-")] = function
    return function


def last_case(function: Case) -> Case:
    """Enter a case that runs behind all others.

    It leaves something in the captured namespace, such as a table of iptables, by which
    other packets have no label.
    """
    LAST.append(function.__name__.replace("_", "-"))
    return case(function)
