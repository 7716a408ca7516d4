"""What a C compiler makes of the headers of bpf/: constants and structures."""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tccap.paths import BPF_DIR
from tccap.stream import abi

# The types and values that the headers expect from elsewhere.
_TYPES = """
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
typedef uint8_t u8; typedef uint16_t u16, __be16; typedef uint32_t u32;
typedef uint64_t u64; typedef int32_t s32; typedef int64_t s64;
"""
DEFINES = abi.defines(96, 2, 1) | {"LABEL_MAX": abi.LABEL_LEN_SHORT}

_CONSTANT = re.compile(r"^#define (\w+) .+$", re.MULTILINE)
_STRUCT = re.compile(r"^struct (\w+) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_MEMBER = re.compile(r"^\t(?:struct )?(\w+) (\w+)(?:\[.*\])?;", re.MULTILINE)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


class Member(NamedTuple):
    """A member of a structure."""

    name: str
    kind: str  # its type, without "struct"
    offset: int
    size: int


class Layout(NamedTuple):
    """What headers define; a structure's size is that of its type."""

    constants: dict[str, int]
    sizes: dict[str, int]
    members: dict[str, list[Member]]

    def at(self, struct: str, member: str) -> int:
        """Return the offset of a member."""
        return next(m.offset for m in self.members[struct] if m.name == member)

    def flat(self, struct: str, start: int = 0) -> Iterator[tuple[int, int]]:
        """Return offset and size of each member, and of the members of structures."""
        for member in self.members[struct]:
            if member.kind in self.members:
                yield from self.flat(member.kind, start + member.offset)
            else:
                yield start + member.offset, member.size


def layout(*headers: str) -> Layout:
    """Compile headers of bpf/; names that are defined for each build are left out."""
    text = "".join(Path(BPF_DIR, header).read_text("ascii") for header in headers)
    text = _COMMENT.sub("", text)
    structs = {name: _MEMBER.findall(body) for name, body in _STRUCT.findall(text)}
    lines = [f"C({name})" for name in _CONSTANT.findall(text)]
    for struct, members in structs.items():
        lines.append(f"S({struct})")
        lines += (f"M({struct}, {kind}, {name})" for kind, name in members)
    found = Layout({}, {}, {struct: [] for struct in structs})
    for line in _printed(headers, lines).splitlines():
        match line.split():
            case "constant", name, value:
                found.constants[name] = int(value)
            case "size", struct, size:
                found.sizes[struct] = int(size)
            case _, struct, name, kind, offset, size:
                member = Member(name, kind, int(offset), int(size))
                found.members[struct].append(member)
    return found


_PRINTERS = r"""
#define C(name) printf("constant " #name " %lld\n", (long long)name);
#define S(of) printf("size " #of " %zu\n", sizeof(struct of));
#define M(of, kind, name) printf("member " #of " " #name " " #kind " %zu %zu\n", \
    offsetof(struct of, name), sizeof(((struct of *)0)->name));
"""


def _printed(headers: tuple[str, ...], lines: list[str]) -> str:
    """Return what a program prints that has these lines behind the headers."""
    includes = "".join(f'#include "{header}"\n' for header in headers)
    body = "int main(void)\n{\n" + "\n".join(lines) + "\nreturn 0;\n}\n"
    flags = [f"-D{name}={value}" for name, value in DEFINES.items()]
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "layout")
        subprocess.run(
            ["cc", "-x", "c", f"-I{BPF_DIR}", *flags, "-o", program, "-"],
            input=_TYPES + includes + _PRINTERS + body,
            text=True,
            check=True,
        )
        return subprocess.run(
            [program], check=True, capture_output=True, text=True
        ).stdout
