"""The classifiers on the devices, by the best way that the kernel has."""

import os
from typing import Protocol, Self

from tccap.attach import clsact, tcx

SIDES = {"both": ("in", "out"), "in": ("in",), "out": ("out",)}
_TCX_TYPES = {"in": tcx.BPF_TCX_INGRESS, "out": tcx.BPF_TCX_EGRESS}
_CLSACT_PARENTS = {"in": clsact.INGRESS, "out": clsact.EGRESS}


class Taps(Protocol):
    """Where the classifiers are attached; leaving the context detaches all."""

    def attach(self, ifindex: int, sides: tuple[str, ...]) -> None:
        """Attach to a device; OSError where the kernel does not allow it."""

    def detach(self, ifindex: int) -> None:
        """Detach from a device, which may be gone already."""

    def __enter__(self) -> Self:
        """Return the taps."""

    def __exit__(self, *_: object) -> None:
        """Detach from all devices."""


def make(programs: dict[str, int]) -> Taps:
    """Return the taps for the programs of each side (descriptors)."""
    if tcx.is_supported(next(iter(programs.values()))):
        return _TcxTaps(programs)
    return _ClsactTaps(programs)


class _TcxTaps:
    def __init__(self, programs: dict[str, int]) -> None:
        self._programs = programs
        self._links: dict[int, list[int]] = {}

    def attach(self, ifindex: int, sides: tuple[str, ...]) -> None:
        links = self._links.setdefault(ifindex, [])
        for side in sides:
            links.append(tcx.attach(self._programs[side], ifindex, _TCX_TYPES[side]))

    def detach(self, ifindex: int) -> None:
        for link in self._links.pop(ifindex, []):
            os.close(link)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for ifindex in list(self._links):
            self.detach(ifindex)


class _ClsactTaps:
    def __init__(self, programs: dict[str, int]) -> None:
        self._programs = programs
        self._clsact = clsact.Clsact()

    def attach(self, ifindex: int, sides: tuple[str, ...]) -> None:
        for side in sides:
            self._clsact.attach(self._programs[side], ifindex, _CLSACT_PARENTS[side])

    def detach(self, ifindex: int) -> None:
        self._clsact.detach(ifindex)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._clsact.__exit__()
