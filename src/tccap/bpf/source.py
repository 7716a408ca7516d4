"""The C text of the BPF programs: files of bpf/, with what they include.

bcc translates map accesses only in the text that it is given, not in files which
that includes. So the files of bpf/ are put into the text here.
"""

import re
from pathlib import Path

from tccap.paths import BPF_DIR

_INCLUDE = re.compile(r'#include "([^"]+)"\n')


def text(*parts: str) -> str:
    """Return C text in which each ``#include "FILE"`` is replaced by a file of bpf/.

    A file comes once, where it is first included; so an include must not be
    conditional. ``#include <FILE>`` is left to the compiler.
    """
    included: set[str] = set()
    return "".join(_expanded("tccap", part, included) for part in parts)


def including(*files: str) -> str:
    """Return C text that includes files of bpf/."""
    return "".join(f'#include "{file}"\n' for file in files)


def _expanded(name: str, content: str, included: set[str]) -> str:
    out = [f'#line 1 "{name}"\n']
    for number, line in enumerate(content.splitlines(keepends=True), 1):
        include = _INCLUDE.fullmatch(line)
        if not include:
            out.append(line)
        elif include[1] not in included:
            included.add(include[1])
            file = Path(BPF_DIR, include[1])
            out.append(_expanded(include[1], file.read_text("ascii"), included))
            out.append(f'#line {number + 1} "{name}"\n')
        else:
            out.append("\n")
    return "".join(out)
