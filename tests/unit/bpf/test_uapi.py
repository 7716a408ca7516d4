"""uapi.py against the kernel's own header, as a C compiler reads it."""

import ctypes
import re
import shutil
import subprocess
from enum import IntEnum
from pathlib import Path

import pytest

from tccap.bpf import uapi

HEADER = Path("/usr/include/linux/bpf.h")
ENUMS: dict[type[IntEnum], str] = {
    uapi.Command: "BPF_",
    uapi.MapType: "BPF_MAP_TYPE_",
    uapi.ProgType: "BPF_PROG_TYPE_",
    uapi.AttachType: "BPF_",
}
# Where in union bpf_attr a structure's members are, or in which structure.
UNION = "union bpf_attr"
STRUCTURES: dict[type[ctypes.Structure], tuple[str, str]] = {
    uapi.MapCreate: (UNION, ""),
    uapi.MapElem: (UNION, ""),
    uapi.ProgLoad: (UNION, ""),
    uapi.ObjGetInfoByFd: (UNION, "info."),
    uapi.RawTracepointOpen: (UNION, "raw_tracepoint."),
    uapi.BtfLoad: (UNION, ""),
    uapi.GetFdById: (UNION, ""),
    uapi.LinkCreateIter: (UNION, "link_create."),
    uapi.LinkCreateTcx: (UNION, "link_create."),
    uapi.IterCreate: (UNION, "iter_create."),
    uapi.MapInfo: ("struct bpf_map_info", ""),
    uapi.BtfInfo: ("struct bpf_btf_info", ""),
}
NAMES = {"id": "prog_id"}  # a union of such names, in GetFdById
# Not in every header: TCX is of Linux 6.6.
NEWER = {"target_ifindex", "relative_fd", "expected_revision"}
UNNAMED = {"BPF_UNSPEC", "zero"}


def _members() -> dict[str, int]:
    """Return C expressions for the offset of each member, and what they must be."""
    expected = {}
    for structure, (home, prefix) in STRUCTURES.items():
        for name, *_ in structure._fields_:
            in_c = NAMES.get(name, name) if structure is uapi.GetFdById else name
            if in_c in UNNAMED:
                continue
            at = getattr(structure, name).offset
            expected[f"offsetof({home}, {prefix}{in_c})"] = at
    return expected


def _values() -> dict[str, int]:
    return {
        prefix + member.name: int(member)
        for enum, prefix in ENUMS.items()
        for member in enum
        if prefix + member.name not in UNNAMED
    }


def _is_known(expression: str, header: str) -> bool:
    return all(
        re.search(rf"\b{word}\b", header)
        for word in re.findall(r"\w+", expression)
        if word in NEWER or word.startswith("BPF_")
    )


@pytest.mark.skipif(
    not HEADER.exists() or not shutil.which("gcc"), reason="no kernel header, or no gcc"
)
def test_it_is_what_the_header_says(tmp_path: Path) -> None:
    header = HEADER.read_text()
    constants = {"BPF_F_BEFORE": uapi.F_BEFORE, "BPF_PSEUDO_MAP_FD": 1}
    all_of_it = _members() | _values() | constants
    all_of_it["BPF_LD | BPF_DW | BPF_IMM"] = uapi.LD_IMM64
    all_of_it["BPF_OBJ_NAME_LEN - 1"] = uapi.NAME_LEN_MAX
    expected = {e: n for e, n in all_of_it.items() if _is_known(e, header)}
    checks = "".join(
        f'_Static_assert(({each}) == {number}, "{each}");\n'
        for each, number in expected.items()
    )
    source = tmp_path / "checks.c"
    source.write_text(f"#include <stddef.h>\n#include <linux/bpf.h>\n{checks}")
    done = subprocess.run(
        ["gcc", "-fsyntax-only", source], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(expected) > 80
