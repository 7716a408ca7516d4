"""Cgroups in the kernel's table: what labels say of them, and which filters name them.

The programs know the cgroup of a process by its number. Here its path becomes a
container, a pod and a unit, and the names of these. All cgroups that exist are entered
before packets come; of a new one the kernel reports the path when it is made, before it
has processes. Until that is entered here, the programs know a container by its id alone
(bpf/owners/new_cgroup.h).
"""

import functools
import math
import os
import select
import time
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from tccap.bpf.collection import Collection
from tccap.host import cgrouppath, cgroups, timer
from tccap.host.access import ALL, Caller
from tccap.host.allowance import Allowance
from tccap.host.cgrouppath import Place
from tccap.host.cgroups import Hierarchy
from tccap.host.containernames import Files, Names
from tccap.host.shares import Shares, Whose
from tccap.ipc.status import Warnings
from tccap.owners import placenames
from tccap.owners.occupied import Occupant
from tccap.owners.placenames import Described
from tccap.stream import abi
from tccap.stream.ringbuffer import RingBuffer

# How long after a cgroup was made its names are looked for again: a runtime may write
# them later.
LATER_S: Final = (0.05, 0.2, 1.0, 3.0, 10.0)
# How often removed cgroups are looked for. They are forgotten the second time: for so
# long packets of their processes may come (CLOSED_MAX_NS of closed_connections.h).
SWEEP_S: Final = 60.0
_FULL: Final = (
    f"There are more than {abi.CGROUPS} cgroups: some labels lack container and unit."
)
_TOO_MANY: Final = (
    "A user or a container has very many cgroups: some labels of its processes lack "
    "container and unit."
)
# Keys of the map: struct runtime_prefix of bpf/owners/new_cgroup.h.
_PREFIXES: Final = tuple(text.encode() for text in cgrouppath.PREFIXES)

Words = tuple[tuple[str, str], ...]  # a word of a filter, and its pattern


class _Unnamed(NamedTuple):
    number: int
    place: Place
    due: float
    times: int  # how often it was looked for


class Chosen(NamedTuple):
    """Which cgroups filters name: those of the options, and conditions by number."""

    options: dict[str, tuple[str, ...]]
    words: Words

    def chosen(self, of: Described) -> bool:
        """Return whether each option that is given has a pattern that fits."""
        return all(
            any(placenames.matches(word, pattern, of) for pattern in patterns)
            for word, patterns in self.options.items()
        )

    def are_named(self, of: Described) -> bool:
        """Return whether the options name it, or without any, a word of the filter."""
        return self.chosen(of) if self.options else bool(self.conditions(of))

    def conditions(self, of: Described) -> int:
        """Return the conditions of the capture filter that are true, a bit each."""
        return sum(
            placenames.matches(*condition, of) << number
            for number, condition in enumerate(self.words)
        )


class Cgroups:
    """Keeps the kernel's table of cgroups; `fileno` is readable when there is news."""

    def __init__(
        self,
        collection: Collection,
        hierarchy: Hierarchy,
        caller: Caller,
        chosen: Chosen,
        files: Files | None = None,
    ) -> None:
        self._collection = collection
        self._hierarchy = hierarchy
        self._caller = caller
        self._chosen = chosen
        self._files = files or Files()
        self._table = collection.table("cgroup_labels")
        collection.fill("runtime_prefixes", dict.fromkeys(_PREFIXES, 1))
        self._ring_fd = collection.table("cgroup_events").fd
        self._room = Shares(abi.CGROUPS)
        self._known: dict[int, str] = {}  # paths by number; empty: not found
        self._whose: dict[int, Whose] = {}
        self._described: dict[int, Described] = {}
        self._numbers: dict[str, int] = {}  # by path: of the latest one
        # The latest container of each name that an owner has given.
        self._named: dict[tuple[int | None, str], str] = {}
        self._unnamed: dict[int, _Unnamed] = {}
        self._lacking: set[int] = set()  # reported without a path, and not sought yet
        self._removed: set[int] = set()  # as of the last sweep
        self._walking, self._making_room = Allowance(), Allowance()
        self._naming: dict[object, Allowance] = {}  # by whom files are asked about
        self._sweep_due = math.inf
        self._timer = timer.Timer()
        self._warnings = Warnings()
        self._epoll = select.epoll()
        self._epoll.register(self._ring_fd, select.EPOLLIN)
        self._epoll.register(self._timer.fileno(), select.EPOLLIN)

    @functools.cached_property
    def _ring(self) -> RingBuffer:
        """The ring of new cgroups, mapped when the carrier has been forked."""
        return RingBuffer(self._ring_fd, abi.CGROUP_EVENT_PAGES * abi.PAGE_LEN)

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._epoll.fileno()

    def learn_all(self) -> None:
        """Enter all cgroups that exist."""
        self._learn(cgroups.walk(self._hierarchy))

    def are_chosen(self, pid: int) -> bool:
        """Return whether the options choose the cgroup that a process is in."""
        path = cgroups.path_of(pid, self._hierarchy)
        number = self._numbers.get(path, 0)
        return self._chosen.chosen(self._described.get(number, Described()))

    def chosen_processes(self) -> Iterator[Occupant]:
        """Yield the processes in the cgroups that filters name, now.

        Those of the options count, and without any, all words of the capture filter.
        """
        for number, described in self._described.items():
            path = self._known.get(number, "")
            if path and self._chosen.are_named(described):
                for pid in cgroups.processes(self._hierarchy, path):
                    yield Occupant(described, pid, self._whose[number])

    def take(self) -> None:
        """Enter new cgroups, and look again for names that were not there."""
        self._epoll.poll(0)
        self._timer.clear()
        events = self._events()
        found = {number: path for number, path in events if path}
        self._lacking |= {number for number, path in events if not path}
        self._lacking -= {*self._known, *found}
        self._learn({**found, **self._found_by_walking()}.items())
        self._look_again()
        self._sweep()

    def _events(self) -> list[tuple[int, str]]:
        """Return number and path of the cgroups that were reported until now."""
        return [abi.cgroup_event(record) for record in self._ring.take()[0]]

    def _found_by_walking(self) -> dict[int, str]:
        """Return the paths of cgroups that were reported without, when it is time."""
        if not self._lacking or self._walking.wait_s():
            return {}
        with self._walking.used():
            there = dict(cgroups.walk(self._hierarchy))
        found = {number: there.get(number, "") for number in self._lacking}
        self._lacking.clear()
        return found

    def _learn(self, found: Iterable[tuple[int, str]]) -> None:
        has_changed = False
        for number, path in found:
            if self._known.get(number) != path:
                place = cgrouppath.parse(path, self._owner_of)
                if self._has_room(number, path, place):
                    self._known[number] = path
                    self._numbers[path] = number
                    self._enter(_Unnamed(number, place, time.monotonic(), 0))
                    has_changed = True
        if has_changed:
            self._sweep_due = min(self._sweep_due, time.monotonic() + SWEEP_S)
        self._arm(has_changed)

    def _has_room(self, number: int, path: str, place: Place) -> bool:
        """Return whether a cgroup may be in the table, and take its room there.

        Who may make one, a user or a container's root, can make any number of them.
        """
        if number in self._known:
            return True
        above = path.rpartition("/")[0]
        whose = place.owner or place.container or self._owner_of(above)
        if not self._room.has_room(whose):
            self._make_room()
        if not self._room.has_room(whose):
            self._delete(number)  # what the kernel has entered
            self._warnings.say(_FULL if whose is None else _TOO_MANY)
            return False
        self._room.take(whose)
        self._whose[number] = whose
        return True

    def _look_again(self) -> None:
        now = time.monotonic()
        due = [each for each in self._unnamed.values() if each.due <= now]
        for each in due:
            self._enter(each._replace(due=now))
        self._arm(bool(due))

    def _arm(self, has_changed: bool) -> None:
        if has_changed:
            self._collection.invalidate_lookups()
        due = min((each.due for each in self._unnamed.values()), default=math.inf)
        due = min(due, self._sweep_due)
        if self._lacking:
            due = min(due, time.monotonic() + self._walking.wait_s())
        if due < math.inf:
            self._timer.arm(max(0.001, due - time.monotonic()))

    def _enter(self, of: _Unnamed) -> None:
        """Write what is known of a cgroup; look again later if a name lacks."""
        names, later = self._names(of)
        self._describe(of, names)
        self._unnamed.pop(of.number, None)
        if later and of.number in self._known:
            self._unnamed[of.number] = later

    def _describe(self, of: _Unnamed, names: Names) -> None:
        described = placenames.described(of.place, names)
        self._described[of.number] = described
        self._write(of, described)
        container, name = described.container, described.container_name
        # Containers of different pods may have the same name.
        if container and name and not described.pod:
            key = of.place.owner, name
            before = self._named.get(key, container)
            self._named[key] = container
            if before != container:
                self._look_at_namesakes(of.place, described)
            if len(self._named) > 2 * abi.CGROUPS:
                there = {each.container for each in self._described.values()}
                found = self._named.items()
                self._named = {each: box for each, box in found if box in there}

    def _look_at_namesakes(self, place: Place, latest: Described) -> None:
        """Read the names of other containers that had the name of the latest one.

        They were renamed, unless they are removed or of another runtime. If there is no
        time to read them, they have none.
        """
        for number, known in list(self._described.items()):
            other = cgrouppath.parse(self._known.get(number, ""), self._owner_of)
            if (
                known.container_name == latest.container_name
                and known.container != latest.container
                and not known.pod
                and other.owner == place.owner
            ):
                of = _Unnamed(number, other, time.monotonic(), len(LATER_S))
                names, later = self._names(of)
                if later or names.name not in ("", known.container_name):
                    self._describe(of, names)

    def _names(self, of: _Unnamed) -> tuple[Names, _Unnamed | None]:
        """Return names that the caller may know, and when to look for them again."""
        if not self._may_name(of.place):
            return Names(), None
        if not of.place.container:
            return self._files.names(of.place), None
        allowance = self._allowance(of.place)
        if wait_s := allowance.wait_s():
            return Names(), of._replace(due=time.monotonic() + wait_s)
        with allowance.used():
            names = self._files.names(of.place)
        if names.name or of.times >= len(LATER_S):
            return names, None
        due = of.due + LATER_S[of.times]
        return names, of._replace(due=due, times=of.times + 1)

    def _allowance(self, place: Place) -> Allowance:
        """Return the time for the files of a user, or of a container of root's.

        A user can have as many cgroups and files as he likes, and so can a container
        have cgroups.
        """
        if len(self._naming) > abi.CGROUPS:
            self._naming.clear()
        return self._naming.setdefault(place.owner or place.container, Allowance())

    def _owner_of(self, path: str) -> int | None:
        return cgroups.owner(self._hierarchy, path)

    def _may_name(self, place: Place) -> bool:
        """Return whether the caller may know names that root alone can read."""
        return (
            self._caller.details == ALL
            or not place.container
            or place.owner == self._caller.uid
        )

    def _write(self, of: _Unnamed, described: Described) -> None:
        text = placenames.text(described)
        peer = placenames.text(described, "peer_")
        entry = self._table.Leaf(
            self._chosen.conditions(described),
            self._chosen.chosen(described),
            bool(of.place.runtime or of.place.container),
            len(text),
            len(peer),
            text,
            peer,
        )
        try:
            self._table[self._table.Key(of.number)] = entry
        except OSError:  # E2BIG
            self._make_room()
            if of.number in self._known:
                self._write_or_warn(of.number, entry)

    def _write_or_warn(self, number: int, entry: object) -> None:
        try:
            self._table[self._table.Key(number)] = entry
        except OSError:
            self._forget(number)
            self._warnings.say(_FULL)

    def _sweep(self) -> None:
        """Forget cgroups that were removed before the last time, when it is time."""
        now = time.monotonic()
        if now < self._sweep_due:
            return
        removed = set(self._no_more())
        for number in removed & self._removed:
            self._forget(number)
        self._removed = removed - self._removed
        self._sweep_due = now + SWEEP_S if self._removed else math.inf
        self._arm(has_changed=False)

    def _no_more(self) -> Iterator[int]:
        """Yield the cgroups that were removed."""
        for number, path in self._known.items():
            if not path or not cgroups.exists(self._hierarchy, path, number):
                yield number

    def _make_room(self) -> None:
        """Forget cgroups that were removed, when it is time."""
        if not self._making_room.wait_s():
            with self._making_room.used():
                for number in list(self._no_more()):
                    self._forget(number)

    def _forget(self, number: int) -> None:
        path = self._known.pop(number)
        self._room.give_back(self._whose.pop(number))
        if self._numbers.get(path) == number:
            del self._numbers[path]
        self._described.pop(number, None)
        self._unnamed.pop(number, None)
        self._delete(number)

    def _delete(self, number: int) -> None:
        try:
            del self._table[self._table.Key(number)]
        except KeyError:
            return

    def close(self) -> None:
        """Release the descriptors."""
        self._epoll.close()
        os.close(self._timer.fileno())
