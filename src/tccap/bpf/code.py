"""C for the programs of a capture: files of bpf/, and what a part adds to them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Code(NamedTuple):
    """What one part of a capture adds to the programs.

    ``sources`` (files of bpf/) and then ``text`` (generated C) go ahead of
    packet/capture.c, which knows the processes of a packet. ``filter_text`` goes ahead
    of packet/filter.c, which knows the frame alone. ``defines`` are -D definitions for
    all of it; with ``reads_kernel`` they include the offsets of `btf.defines`.
    """

    sources: tuple[str, ...] = ()
    text: str = ""
    filter_text: str = ""
    defines: Mapping[str, int | str] = MappingProxyType({})
    reads_kernel: bool = False
