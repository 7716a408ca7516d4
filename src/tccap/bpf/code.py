"""C for the programs of a capture: files of bpf/, and what a part adds to them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from tccap.bpf.objects import MapSize
from tccap.bpf.patch import NO_PATCHES, Patches


class Code(NamedTuple):
    """What one part of a capture adds to the programs.

    ``sources`` (files of bpf/) and then ``text`` (generated C) go ahead of
    packet/capture.c, which knows the processes of a packet. ``defines`` are -D
    definitions for all of it; with ``reads_kernel`` they include the offsets of
    `btf.defines`. These do not depend on what the user chose, or each choice would be
    compiled for itself. ``patches`` are put into the compiled programs, and ``sizes``
    are those of maps, by name.
    """

    sources: tuple[str, ...] = ()
    text: str = ""
    defines: Mapping[str, int | str] = MappingProxyType({})
    reads_kernel: bool = False
    patches: Patches = NO_PATCHES
    sizes: Mapping[str, MapSize] = MappingProxyType({})
