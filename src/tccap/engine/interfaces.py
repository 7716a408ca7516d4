"""The captured devices: described in the stream, known to the classifier, attached.

A device goes through two steps, because Wireshark should learn of it as soon as
possible while the classifier takes a moment to load: `discover` describes it in the
stream, `attach` starts its packets. So an Interface Description Block always comes
before the interface's packets.
"""

import errno
import math
import time
from collections import deque
from collections.abc import Callable

from tccap.attach.attacher import Attacher
from tccap.engine import describing, devices
from tccap.engine.classifier import Classifier, DeviceEntry
from tccap.engine.devices import Device
from tccap.engine.surroundings import Surroundings, Survey
from tccap.errors import TccapError
from tccap.ipc.plan import Plan
from tccap.ipc.status import log
from tccap.owners import links
from tccap.stream import abi, linktypes
from tccap.stream.blocks import Section
from tccap.stream.linktypes import LinkType

HINTS = {errno.EMFILE: "; raise the limit of open files (ulimit -Hn)"}


class Interfaces:
    """All devices of one capture, by ifindex."""

    def __init__(
        self, plan: Plan, section: Section, send: Callable[[bytes], object]
    ) -> None:
        self._plan = plan
        self._section = section
        self._send = send
        self._chosen = 0  # the one of the Plan, by ifindex; 0: none, or not found yet
        self._is_vrf = False
        self._known: set[int] = set()  # seen and dealt with, captured or not
        self._ids: dict[int, int] = {}  # interface ids of the present devices
        # Described, not attached.
        self._waiting: deque[tuple[Device, LinkType]] = deque()
        self._survey = Survey()
        self._entries: dict[int, tuple[Device, LinkType, DeviceEntry]] = {}

    def send_to(self, send: Callable[[bytes], object]) -> None:
        """Send further descriptions there."""
        self._send = send

    def discover(self) -> list[int]:
        """Describe devices that are new; return the ifindexes that are gone."""
        present = self._present()
        gone = self._known - present
        self._known &= present
        new = devices.describe(present - self._known)
        for device in sorted(new, key=lambda device: not device.is_up):
            self._known.add(device.ifindex)
            self._describe(device)
        if self._plan.is_any or self._chosen:
            return sorted(gone)
        raise TccapError(f"There is no network device {self._plan.device!r}.")

    def attach(
        self, classifier: Classifier, attacher: Attacher, deadline: float = math.inf
    ) -> None:
        """Start the packets of the devices that `discover` has described.

        Each attachment waits for a grace period of RCU in the kernel, some 10 ms. So
        devices that are up come first, and those that are left at ``deadline`` (of
        time.monotonic()) wait for the next call, which attaches at least one. The
        entries of the others follow their surroundings.
        """
        around = self._survey.read()
        self._update(around, classifier)
        while self._waiting:
            device, link = self._waiting.popleft()
            self._enter(device, link, around, classifier)
            self._attach(device, attacher)
            if time.monotonic() >= deadline:
                break

    def are_over(self, gone: list[int]) -> bool:
        """Return whether the chosen device is among those that are gone."""
        return self._chosen in gone

    @property
    def are_waiting(self) -> bool:
        """Return whether some devices are not attached yet."""
        return bool(self._waiting)

    def rules_changed(self, sources: set[int] | None, classifier: Classifier) -> None:
        """Take note that rules have changed; see `Survey.rules_changed`."""
        self._update(self._survey.rules_changed(sources), classifier)

    def detach(self, ifindex: int, classifier: Classifier, attacher: Attacher) -> None:
        """Forget a device that is gone."""
        self._waiting = deque(w for w in self._waiting if w[0].ifindex != ifindex)
        if self._ids.pop(ifindex, None) is not None:
            self._entries.pop(ifindex, None)
            attacher.detach(ifindex)
            classifier.remove_device(ifindex)

    def silence(self, classifier: Classifier) -> None:
        """End the packets of all devices, ahead of detaching them."""
        for ifindex in self._ids:
            classifier.remove_device(ifindex)

    def _attach(self, device: Device, attacher: Attacher) -> None:
        directions = describing.directions(device, self._plan)
        try:
            attacher.attach(device.ifindex, directions)
        except OSError as error:
            if error.errno == errno.ENODEV:
                return  # gone again, which `discover` finds
            hint = HINTS.get(error.errno or 0, "")
            reason = f"{error.strerror}{hint}"
            self._refuse(device, f"{device.name} cannot be captured: {reason}.")

    def _present(self) -> set[int]:
        """Return the devices that are wanted.

        A VRF's members are: tc does not see what passes the VRF itself, except what
        this host sends to itself there.
        """
        names = devices.names()
        if self._plan.is_any:
            return {*names}
        # A device that is renamed while it is captured stays the same.
        chosen = self._chosen or next(
            (i for i, name in names.items() if name == self._plan.device), 0
        )
        if chosen not in names:
            return set()
        if not self._chosen:
            self._is_vrf = links.is_vrf(chosen)
        self._chosen = chosen
        return {chosen, *(links.members_of_vrf(chosen) if self._is_vrf else ())}

    def _describe(self, device: Device) -> None:
        link = linktypes.of_hardware_type(device.hardware_type)
        if link is None:
            reason = describing.refusal(device)
            self._refuse(device, f"{device.name} cannot be captured: {reason}.")
            return
        if not describing.is_chosen(link, self._plan):
            self._leave_out(device, link)
            return
        reason = describing.unfiltered(link, self._plan)
        if self._plan.filters and reason:
            message = f"{device.name} is not captured with a filter: {reason}."
            self._refuse(device, message)
            return
        if self._section.interface_count == abi.INTERFACES:
            message = f"{device.name} is not captured: {abi.INTERFACES} devices before."
            self._refuse(device, message)
            return
        self._ids[device.ifindex], block = self._section.describe(
            describing.interface(device, link, self._plan)
        )
        self._send(block)
        self._waiting.append((device, link))

    def _leave_out(self, device: Device, link: LinkType) -> None:
        """Report a device that the user's choice of a link type leaves out."""
        message = f"{device.name} is not captured: its link type is {link.display}"
        if device.ifindex == self._chosen:
            raise TccapError(f"{message}, and only {self._plan.link_types} is chosen.")
        log("info", f"{message}.")

    def _update(self, around: dict[int, Surroundings], classifier: Classifier) -> None:
        for device, link, entry in list(self._entries.values()):
            if self._entry(device, link, around) != entry:
                self._enter(device, link, around, classifier)

    def _enter(
        self,
        device: Device,
        link: LinkType,
        around: dict[int, Surroundings],
        classifier: Classifier,
    ) -> None:
        entry = self._entry(device, link, around)
        self._entries[device.ifindex] = device, link, entry
        classifier.add_device(device.ifindex, entry)

    def _entry(
        self, device: Device, link: LinkType, around: dict[int, Surroundings]
    ) -> DeviceEntry:
        there = around.get(device.ifindex, Surroundings())
        is_loopback = device.hardware_type == describing.LOOPBACK
        return DeviceEntry(
            interface_id=self._ids[device.ifindex],
            first_header=describing.first_header(link),
            is_loopback=is_loopback,
            far_namespace=there.far_namespace,
            leads_away=device.is_hardware,
            far_netns=there.far_netns,
            far_ifindex=there.far_ifindex,
            # What lo carries has been translated before.
            translation=0 if is_loopback else there.translation,
            far_translation=there.far_translation,
            is_lower=there.is_lower,
            from_here=there.from_here,
            master=there.master,
            vrf=there.vrf,
            below_vrf=there.below_vrf,
            others_from_here=there.others_from_here,
            far_in_vrf=there.far_in_vrf,
        )

    def _refuse(self, device: Device, message: str) -> None:
        if device.ifindex == self._chosen:
            raise TccapError(message)
        log("warning", message)
