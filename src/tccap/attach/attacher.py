"""Attaches the classifiers to devices, in the best way that the kernel has.

pyroute2 takes 0.1 s to import, and a user waits for the first packet: only kernels
without TCX need it.
"""

from collections.abc import Mapping
from typing import ClassVar, Protocol, Self

from tccap.attach import tcx
from tccap.attach.tcx import TcxAttacher

# Which packets a classifier sees: incoming or outgoing ones. By the Plan's direction.
DIRECTIONS = {"both": ("in", "out"), "in": ("in",), "out": ("out",)}


class Attacher(Protocol):
    """Attaches the classifiers; leaving the context detaches all of them."""

    NAME: ClassVar[str]  # for people

    def attach(self, ifindex: int, directions: tuple[str, ...]) -> None:
        """Attach to a device; OSError if the kernel refuses."""

    def detach(self, ifindex: int) -> None:
        """Detach from a device, which may be gone already."""

    def __enter__(self) -> Self:
        """Return the attacher."""

    def __exit__(self, *_: object) -> None:
        """Detach from all devices."""


def make_attacher(programs: Mapping[str, int]) -> Attacher:
    """Return an attacher; ``programs`` are descriptors by direction, "in" or "out"."""
    if tcx.is_supported(next(iter(programs.values()))):
        return TcxAttacher(programs)
    from tccap.attach.clsact import ClsactAttacher

    return ClsactAttacher(programs)
