"""Containers captured from inside: the devices in their network namespaces.

Theory of operation. A timer has the engine look in which namespaces the processes of
chosen cgroups are. It enters each for a moment, now and then again, describes devices
that are new there, and attaches classifiers to them. It keeps nothing that refers to
the namespace, which ends with the container; links end with their devices.

What is in a container can make any number of devices, addresses and namespaces. So a
user, or a container of root's, gets no more of what all share than is left for others,
and whose turn it is depends on how much time was taken for each.

A packet that crosses a veth pair passes two devices. So an end in a container is left
out if the other one is captured: in the engine's namespace, or in another container.
"""

import contextlib
import errno
import itertools
import math
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from tccap.attach import tcx
from tccap.bpf.collection import Collection
from tccap.engine import describing, devices, insidespace
from tccap.engine.classifier import Classifier
from tccap.engine.devices import Device
from tccap.engine.insidespace import Around, InsideSpace
from tccap.engine.interfaces import HINTS
from tccap.host import netlink, timer
from tccap.host.shares import Shares, Whose
from tccap.ipc.plan import Plan
from tccap.ipc.status import log
from tccap.owners import addresses, namespaces, occupied
from tccap.owners.addresses import OWN_NAMESPACE, AddressTable
from tccap.owners.links import Link
from tccap.owners.occupied import ForbiddenError, Insiders, Space
from tccap.stream import abi, linktypes
from tccap.stream.blocks import Section
from tccap.stream.linktypes import LinkType

# How often to look which namespaces there are, unless that takes longer than one in so
# many parts of the time.
LOOK_S: Final = 0.1
SHARE: Final = 20
# How long one look may enter new namespaces: packets of others wait.
ENTER_S: Final = 0.05
# After which times to enter a namespace again, in which there may be new devices and
# addresses; then again and again after the last one.
AGAIN_S: Final = (0.1, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
SOON_S: Final = 0.001
SPACES: Final = 512
DEVICES: Final = 64  # in each of them
WARNINGS: Final = 16  # about one user, or one container of root's
_ENDED: Final = (errno.ENOENT, errno.ESRCH)
_REASONS: Final = {errno.E2BIG: "it has too many devices, addresses or routes"}
_FULL: Final = (
    "Too many network namespaces are chosen, in all or of one user or container: "
    "further ones are not captured from inside."
)
_FORBIDDEN: Final = (
    "Some chosen containers are not captured from inside, because they are not yours: "
    'use root, or have an administrator write secrets = "all" into /etc/tccap.conf.'
)


@dataclass
class _Known:
    inside: InsideSpace
    due: float = -math.inf  # when to enter it again
    times: int = 0  # it was entered


class Inside:
    """All that is captured from inside; `fileno` is readable when to `look`."""

    def __init__(
        self,
        plan: Plan,
        section: Section,
        collection: Collection,
        classifier: Classifier,
        insiders: Insiders,
    ) -> None:
        self._plan = plan
        self._section = section
        self._classifier = classifier
        self._insiders = insiders
        self._addresses = AddressTable(collection)
        self._networks: addresses.Found = {}  # what it was given last
        self._send: Callable[[bytes], object] | None = None
        self._known: dict[int, _Known] = {}  # by inode number
        self._refused: set[Space] = set()
        self._has_looked = False
        self._found_before: set[Space] = set()
        self._missing_before: set[int] = set()  # by inode number
        self._last_id = OWN_NAMESPACE
        self._room = Shares(SPACES)
        self._described: Counter[Whose] = Counter()  # interfaces in the stream
        self._spent_s: dict[Whose, float] = {}  # time in namespaces
        self._warned: set[str] = set()
        self._warnings: Counter[Whose] = Counter()
        self._timer = timer.Timer()
        self._own_fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.is_complete = False  # all namespaces have been entered that were there

    def send_to(self, send: Callable[[bytes], object]) -> None:
        """Begin to look, and send descriptions there."""
        self._send = send
        self.look()

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._timer.fileno()

    def look(self) -> None:
        """Describe devices that are new; let go of namespaces that nobody is in.

        That has to be seen twice: one that was missed would be without packets.
        """
        self._timer.clear()
        started = time.monotonic()
        found = self._insiders.find()
        missing = self._known.keys() - found.keys()
        for inode in missing & self._missing_before:
            self._let_go(inode)
        self._missing_before = missing
        self._refused &= {*found.values()}
        due = self._due(found)
        deadline = time.monotonic() + ENTER_S
        while due and time.monotonic() < deadline:
            self._visit(due.popleft())
        self._update_addresses()
        self.is_complete |= self._has_looked and not due
        self._has_looked = True
        self._found_before = {*found.values()}
        spent_s = time.monotonic() - started
        self._timer.arm(LOOK_S if due else max(LOOK_S, SHARE * spent_s))

    def devices_changed(self) -> None:
        """Look soon where devices could have come from that are new on the host.

        Until then their packets are there twice.
        """
        for known in self._known.values():
            if known.inside.may_lose_devices:
                known.due = -math.inf
                self._timer.arm(SOON_S)

    @property
    def are_waiting(self) -> bool:
        """Return whether some devices are not attached yet."""
        return any(known.inside.waiting for known in self._known.values())

    def attach(self, deadline: float) -> None:
        """Start the packets of devices that were described, until then at least one."""
        waiting = [known for known in self._known.values() if known.inside.waiting]
        for known in sorted(
            waiting, key=lambda known: self._spent_on(known.inside.space)
        ):
            with self._charged(known.inside.space.whose):
                self._attach_in(known, deadline)
            if time.monotonic() >= deadline:
                break

    def silence(self) -> None:
        """End the packets of all devices, ahead of detaching them."""
        for known in self._known.values():
            known.inside.silence()

    def close(self) -> None:
        """Detach from all devices."""
        inside = (known.inside for known in self._known.values())
        tcx.close([link_fd for each in inside for link_fd in each.release()])
        os.close(self._own_fd)
        os.close(self._timer.fileno())

    def _due(self, found: dict[int, Space]) -> deque[Space]:
        """Return which namespaces to enter, one after the other.

        New ones are entered the second time that they are found, with the same process:
        see `Insiders.find`.
        """
        new = [space for space in found.values() if self._is_new(space)]
        new = [space for space in new if space in self._found_before]
        known = [found[inode] for inode in self._known.keys() & found.keys()]
        due = new + [space for space in known if self._is_due(space)]
        return deque(sorted(due, key=self._spent_on))

    def _is_new(self, space: Space) -> bool:
        return space.inode not in self._known and space not in self._refused

    def _is_due(self, space: Space) -> bool:
        known = self._known[space.inode]
        # Another process: the number may be that of another namespace by now.
        return known.due <= time.monotonic() or known.inside.space.pid != space.pid

    @contextlib.contextmanager
    def _charged(self, whose: Whose) -> Iterator[None]:
        """Note how long the block takes, and for whom."""
        if len(self._spent_s) > 2 * SPACES:  # most of them have ended
            self._spent_s.clear()
        started = time.monotonic()
        try:
            yield
        finally:
            spent_s = time.monotonic() - started
            self._spent_s[whose] = self._spent_s.get(whose, 0.0) + spent_s

    def _spent_on(self, space: Space) -> float:
        return self._spent_s.get(space.whose, 0.0)

    def _let_go(self, inode: int) -> None:
        inside = self._known.pop(inode).inside
        self._room.give_back(inside.space.whose)
        inside.silence()
        for link_fd in inside.release():
            os.close(link_fd)

    def _visit(self, space: Space) -> None:
        if space.inode not in self._known and not self._room.has_room(space.whose):
            self._warn(_FULL, space.whose)
            return
        try:
            with (
                self._charged(space.whose),
                self._insiders.entered(space) as cookie,
            ):
                self._look_around(self._known_as(space, cookie))
        except ForbiddenError:
            self._refuse(space, _FORBIDDEN)
        except OSError as error:
            if error.errno not in _ENDED:
                reason = _REASONS.get(error.errno or 0, error.strerror)
                message = f"{space.name} cannot be captured from inside: {reason}."
                self._refuse(space, message)

    def _refuse(self, space: Space, message: str) -> None:
        self._refused.add(space)
        self._warn(message, space.whose)

    def _known_as(self, space: Space, cookie: int) -> _Known:
        """Return what is known of the namespace, which it gets a number for."""
        known = self._known.get(space.inode)
        if known and known.inside.cookie != cookie:
            self._let_go(space.inode)
            known = None
        if not known:
            self._last_id -= 1
            self._room.take(space.whose)
            inside = InsideSpace(space, cookie, self._last_id, self._classifier)
            known = self._known[space.inode] = _Known(inside)
        # Who was found in it first: room was taken for them.
        known.inside.space = space._replace(whose=known.inside.space.whose)
        return known

    def _look_around(self, known: _Known) -> None:
        started = time.monotonic()
        try:
            around = insidespace.look_around(known.inside.namespace_id)
            known.inside.update(around)
            self._describe_new(known.inside, around)
        finally:
            again_s = AGAIN_S[min(known.times, len(AGAIN_S) - 1)]
            spent_s = time.monotonic() - started
            known.due = started + max(again_s, SHARE * spent_s)
            known.times += 1

    def _describe_new(self, inside: InsideSpace, around: Around) -> None:
        room = DEVICES - inside.count
        new = [*itertools.islice(self._new_devices(inside, around), room + 1)]
        if new[:room]:
            for device in devices.describe({*new[:room]}, has_sys=False):
                self._describe(inside, device)
        if new[room:] and inside.count == DEVICES:
            name = inside.space.name
            message = (
                f"{name} has more than {DEVICES} devices: the rest is not captured."
            )
            self._warn(message, inside.space.whose)

    def _new_devices(self, inside: InsideSpace, around: Around) -> Iterator[int]:
        """Yield the devices to be captured that are not yet."""
        with netlink.connect() as there:
            for link in around.links.values():
                if (
                    link.is_up
                    and not inside.is_known(link.ifindex)
                    and not self._is_captured_there(there, link)
                ):
                    yield link.ifindex

    def _is_captured_there(self, there: netlink.Connection, link: Link) -> bool:
        """Return whether the other end of a veth pair is captured."""
        if link.far_namespace < 0:
            return False
        if link.far_namespace == namespaces.id_of(there, self._own_fd):
            return True
        others = (known.inside for known in self._known.values())
        with_end = (each for each in others if each.has(link.far_ifindex))
        return any(_id_of(there, each.space) == link.far_namespace for each in with_end)

    def _describe(self, inside: InsideSpace, device: Device) -> None:
        link = linktypes.of_hardware_type(device.hardware_type)
        reason = self._reason_against(inside, device, link)
        if link is None or reason:
            inside.left_out.add(device.ifindex)
            name = f"{inside.space.name}/{device.name}"
            self._warn(f"{name} is not captured: {reason}.", inside.space.whose)
            return
        interface_id, block = self._section.describe(
            describing.interface(device, link, self._plan, inside.space.name)
        )
        self._described[inside.space.whose] += 1
        assert self._send
        self._send(block)
        inside.add(device, link, interface_id)

    def _reason_against(
        self, inside: InsideSpace, device: Device, link: LinkType | None
    ) -> str:
        if link is None:
            return describing.refusal(device)
        if not describing.is_chosen(link, self._plan):
            return f"its link type is {link.display}"
        left = abi.INTERFACES - self._section.interface_count
        if self._described[inside.space.whose] >= left:
            return f"too many devices before, {abi.INTERFACES - left} in all"
        return describing.unfiltered(link, self._plan) if self._plan.filters else ""

    def _attach_in(self, known: _Known, deadline: float) -> None:
        inside = known.inside
        suppressed = contextlib.suppress(OSError, ForbiddenError)
        with suppressed, self._insiders.entered(inside.space) as cookie:
            if cookie == inside.cookie:
                self._attach_some(inside, deadline)
                return
        # That process has ended; another one may still be there.
        inside.forget_waiting()
        known.due = -math.inf

    def _attach_some(self, inside: InsideSpace, deadline: float) -> None:
        for device in inside.waiting:
            self._attach(inside, device)
            if time.monotonic() >= deadline:
                break

    def _attach(self, inside: InsideSpace, device: Device) -> None:
        try:
            inside.attach(device, self._plan)
        except OSError as error:
            if error.errno != errno.ENODEV:
                name = f"{inside.space.name}/{device.name}"
                hint = HINTS.get(error.errno or 0, "")
                message = f"{name} cannot be captured: {error.strerror}{hint}."
                self._warn(message, inside.space.whose)

    def _update_addresses(self) -> None:
        inside = (known.inside for known in self._known.values())
        found = self._addresses.admitted(
            (each.space.whose, each.networks) for each in inside
        )
        if found != self._networks:
            self._networks = found
            self._addresses.replace(found)

    def _warn(self, message: str, whose: Whose) -> None:
        """Write something into the log once, and of one user not without end."""
        if message in self._warned or self._warnings[whose] == WARNINGS:
            return
        self._warned.add(message)
        self._warnings[whose] += 1
        log("warning", message)
        if self._warnings[whose] == WARNINGS:
            of = f"user {whose}" if isinstance(whose, int) else whose
            log("warning", f"This log leaves out what else is not captured of {of}.")


def _id_of(there: netlink.Connection, space: Space) -> int:
    """Return the id that a socket's namespace has for another one; -1: none."""
    try:
        with open(occupied.path(space.pid), "rb") as file:  # noqa: PTH123  # a link
            return namespaces.id_of(there, file.fileno())
    except OSError:
        return -1
