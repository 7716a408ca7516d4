"""C text with what it includes."""

import re
from pathlib import Path

import pytest

from tccap.bpf import source
from tccap.paths import BPF_DIR

FILES = sorted(
    str(file.relative_to(BPF_DIR))
    for file in Path(BPF_DIR).rglob("*.[ch]")
    if "include" not in file.parts
)
_INCLUDE = re.compile(r'^#include "(.*)"$', re.MULTILINE)


@pytest.fixture
def bpf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(source, "BPF_DIR", str(tmp_path))
    return tmp_path


def test_an_included_file_comes_first_and_once(bpf: Path) -> None:
    bpf.joinpath("a.h").write_text("#include <linux/types.h>\nint a;\n")
    bpf.joinpath("b.h").write_text('#include "a.h"\nint b;\n')
    bpf.joinpath("c.c").write_text('#include "b.h"\n#include "a.h"\nint c;\n')
    text = source.text("int first;\n", source.including("c.c", "b.h"))
    lines = [line for line in text.splitlines() if line and "#line" not in line]
    assert lines == ["int first;", "#include <linux/types.h>"] + [
        f"int {name};" for name in "abc"
    ]


def test_lines_keep_their_numbers(bpf: Path) -> None:
    bpf.joinpath("a.h").write_text("int a;\n")
    bpf.joinpath("c.c").write_text('#include "a.h"\n#include "a.h"\nint c;\n')
    text = source.text(source.including("c.c"))
    assert '#line 1 "a.h"\nint a;\n#line 2 "c.c"\n\nint c;\n' in text


@pytest.mark.parametrize("file", FILES)
def test_files_include_what_exists_and_unconditionally(file: str) -> None:
    content = Path(BPF_DIR, file).read_text("ascii")
    included = _INCLUDE.findall(content)
    assert {*included} <= {*FILES}
    condition = re.search(r"^#if(?!ndef TCCAP_)", content, re.MULTILINE)
    assert not condition or content.rfind('#include "') < condition.start()


@pytest.mark.parametrize("file", [file for file in FILES if file.endswith(".h")])
def test_headers_have_guards(file: str) -> None:
    guard = f"TCCAP_{Path(file).stem.upper()}_H"
    content = Path(BPF_DIR, file).read_text("ascii")
    assert f"#ifndef {guard}\n#define {guard}\n" in content
    assert content.endswith("#endif\n")
