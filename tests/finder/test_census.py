"""Every ELF file of a folder: only TLS libraries are proven."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from finder.running import MEMORY_MIB_MAX, Measured, measure, on_all_processors

FOLDER = os.environ.get("TCCAP_FINDER_CENSUS", "/usr/lib/x86_64-linux-gnu")
FILES_MAX = 20  # in the short form, which takes the first of them and those of TLS
FETCHED = ("/var/cache/tccap-tests", "/var/cache/tccap-vm")  # by the tests
PRUNED = ("/proc", "/sys", "/dev", "/run", "/tmp", *FETCHED)
# A file with all of these labels may log secrets, so may one with that function of Go;
# and one with this name may be NSS's softoken. Nothing else must be proven.
LABELS = (b"CLIENT_HANDSHAKE_TRAFFIC_SECRET\0", b"SERVER_TRAFFIC_SECRET_0\0")
SOFTOKEN = b"\0NSC_GetFunctionList\0"
GO = b"crypto/tls.(*Config).writeKeyLog"  # its strings have no end


def elf_files(folder: str) -> Iterator[Path]:
    """Yield the ELF files below a folder, each content once."""
    seen = set()
    for top, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if str(Path(top, f)) not in PRUNED)
        for name in sorted(names):
            path = Path(top, name)
            if path.is_symlink() or not path.is_file():
                continue
            with path.open("rb") as file:
                if file.read(4) != b"\x7fELF":
                    continue
                file.seek(0)
                content = hashlib.file_digest(file, "sha256").digest()
            if content not in seen:
                seen.add(content)
                yield path


def chosen() -> list[Path]:
    """Return all files if a folder was asked for; else a few, and TLS libraries."""
    files = list(elf_files(FOLDER))
    if "TCCAP_FINDER_CENSUS" in os.environ:
        return files
    return [f for n, f in enumerate(files) if n < FILES_MAX or _is_tls(f)]


def _is_tls(path: Path) -> bool:
    content = path.read_bytes()
    has_labels = all(label in content for label in LABELS)
    return has_labels or SOFTOKEN in content or GO in content


def test_nothing_else_is_taken_for_a_tls_library() -> None:
    answers: Counter[str] = Counter()
    worst: dict[str, Measured] = {}
    proven: list[Path] = []
    died: list[Path] = []
    for found in on_all_processors(measure, chosen()):
        if found.answer is None:
            died.append(found.file)
            continue
        for what in ("cpu_s", "memory_mib"):
            worst[what] = max(
                worst.get(what, found), found, key=lambda m: getattr(m, what)
            )
        answers[found.answer.refusal or found.answer.library] += 1
        if found.answer.sites:
            proven.append(found.file)
            print(f"proven: {found.file}: {found.answer.library}")
    for text, count in answers.most_common():
        print(f"{count:8} {text}")
    for what, most in worst.items():
        print(f"most {what}: {getattr(most, what):.1f}, {most.file}")
    assert not died
    assert proven
    assert [path for path in proven if not _is_tls(path)] == []
    assert worst["memory_mib"].memory_mib <= MEMORY_MIB_MAX


def test_files_are_found_once(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"\x7fELF")
    os.link(tmp_path / "one", tmp_path / "two")
    (tmp_path / "three").symlink_to("one")
    (tmp_path / "zero").write_bytes(b"\x7fELF")
    (tmp_path / "text").write_text("no")
    assert list(elf_files(str(tmp_path))) == [tmp_path / "one"]


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"#!/bin/sh\n", bytes(100_000)])
def test_a_file_that_is_not_elf_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content or b"\0")
    answer = measure(path).answer
    assert answer
    assert answer.refusal
