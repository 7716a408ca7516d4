"""C for the programs of a capture: files of bpf/, and what a part adds to them."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from tccap.paths import BPF_DIR


class Code(NamedTuple):
    """What one part of a capture adds to the programs.

    ``sources`` (files of bpf/, in order) and then ``text`` (generated C) go ahead of
    packet/capture.c, which knows the processes of a packet. ``filter_text`` goes ahead
    of packet/filter.c, which knows the frame alone. ``defines`` are -D definitions for
    all of it; with ``reads_kernel`` they include the offsets of `btf.defines`.
    """

    sources: tuple[str, ...] = ()
    text: str = ""
    filter_text: str = ""
    defines: Mapping[str, int | str] = MappingProxyType({})
    reads_kernel: bool = False


def text(*sources: str) -> str:
    """Return the C text made of files of bpf/, in order.

    It is one text, because bcc translates map accesses in a single file only.
    """
    files = ((name, Path(BPF_DIR, name)) for name in sources)
    return "".join(f'#line 1 "{n}"\n{f.read_text("ascii")}' for n, f in files)
