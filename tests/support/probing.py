"""Programs to probe, probes that do nothing, and whether a probe is attached."""

import errno
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from support.running import until
from tccap.bpf.collection import Collection
from tccap.bpf.objects import INSTRUCTION, MapSpec, Object
from tccap.bpf.uapi import ProgType
from tccap.tls import probetable, sites
from tccap.tls.libraries import MARKERS
from tccap.tls.sites import Number, Site
from tccap.tls.uprobes import SLOT_PROGRAM, Uprobes

HASH, ARRAY = 1, 2  # BPF_MAP_TYPE_*
_RETURN_0 = INSTRUCTION.pack(0xB7, 0, 0, 0) + INSTRUCTION.pack(0x95, 0, 0, 0)
_BREAKPOINT = b"\xcc"
# Two versions of a function, of the same length. The first instruction of the old one
# is shorter than that of the new one: if the kernel emulates the old one in its place,
# the program continues in the middle of the new one, and runs into ud2.
OLD = bytes.fromhex("50 58 90 90 90 90 90 90 90 90 c3")
NEW = bytes.fromhex("48 b8 00 00 00 00 0f 0b 0f 0b c3")
_SOURCE = """
#include <stdio.h>
void function(void);
asm("function: .byte %s");
const char *volatile marker = "%s";
int main(void) { puts("running"); fflush(stdout); getchar(); function(); return 0; }
"""


def uprobes() -> Uprobes:
    """Return probes with programs that do nothing, loaded as those of a capture."""
    row_len = len(probetable.row(site(0)))
    sites = _map("tls_sites", ARRAY, ('"unsigned int"', 4), _struct(row_len))
    key, leaf = probetable.LABEL_PLACE.size, probetable.LABEL.size
    labels = _map("tls_labels", HASH, _struct(key), _struct(leaf))
    made = Collection([Object((sites, labels), {SLOT_PROGRAM: _RETURN_0}, b"")])

    def load(_slot: int) -> int:
        return made.variant(SLOT_PROGRAM, ProgType.KPROBE, {})

    return Uprobes(load, made.table("tls_sites"), made.table("tls_labels"))


def _struct(length: int) -> tuple[str, int]:
    """Return bcc's description of a struct of so many bytes, and its length."""
    members = [["bytes", "unsigned char", [length]]]
    return json.dumps(["bytes", members, "struct"]), length


def _map(name: str, kind: int, key: tuple[str, int], leaf: tuple[str, int]) -> MapSpec:
    return MapSpec(
        *(name, kind, key[1], leaf[1], probetable.SLOTS),
        flags=0,
        btf_key_type=0,
        btf_value_type=0,
        key=key[0],
        leaf=leaf[0],
    )


def site(file_offset: int) -> Site:
    """Return a site at an offset; its paths are never used."""
    return Site(
        address=file_offset,
        file_offset=file_offset,
        kind="line",
        label="CLIENT_RANDOM",
        label_len=None,
        client_random=sites.Path("rdi", (0,)),
        secret=sites.Path("rdx", (0,)),
        secret_len=Number(sites.Path("rcx", ()), 4),
    )


class Program(NamedTuple):
    """A program with the marker of a TLS library, and its function."""

    content: bytes
    function: bytes

    @property
    def offset(self) -> int:
        """The file offset of the function."""
        assert self.content.count(self.function) == 1
        return self.content.index(self.function)


def program(folder: Path, function: bytes) -> Program:
    """Build a program with these bytes as its function."""
    code = ",".join(map(str, function))
    built = folder / "built"
    subprocess.run(
        ["gcc", "-x", "c", "-o", built, "-"],
        input=(_SOURCE % (code, MARKERS[0].decode())).encode(),
        check=True,
    )
    return Program(built.read_bytes(), function)


def install(path: Path, content: bytes) -> None:
    """Overwrite a program in place: the inode stays.

    A program that has just ended may be busy for a moment: tracing has it open.
    """

    def installed() -> bool:
        try:
            path.write_bytes(content)
        except OSError as error:
            if error.errno != errno.ETXTBSY:
                raise
            return False
        return True

    until(installed, "a file that nobody runs")
    path.chmod(0o755)


def run(path: Path) -> int:
    """Run a program to its end; return its exit status."""
    return subprocess.run(
        [path], input=b"\n", capture_output=True, check=False
    ).returncode


@contextmanager
def running(path: Path) -> Iterator[int]:
    """Run a program until it waits for a line; yield its pid."""
    with subprocess.Popen(
        [path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == b"running\n"
        try:
            yield process.pid
        finally:
            process.stdin.close()


def is_probed(pid: int, path: Path, file_offset: int) -> bool:
    """Return whether a process has the kernel's breakpoint at a file offset."""
    with Path(f"/proc/{pid}/maps").open() as maps:
        lines = (line.split() for line in maps)
        [(addresses, offset)] = [
            (line[0], int(line[2], 16))
            for line in lines
            if line[1] == "r-xp" and line[-1] == str(path)
        ]
    start = int(addresses.split("-")[0], 16)
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        memory.seek(start + file_offset - offset)
        return memory.read(1) == _BREAKPOINT
