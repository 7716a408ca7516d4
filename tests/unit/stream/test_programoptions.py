"""The keys of numbers, in C and in Python."""

import re
from pathlib import Path

from tccap.paths import BPF_DIR
from tccap.stream.programoptions import Option


def test_keys_are_those_of_the_programs() -> None:
    text = Path(BPF_DIR, "options.h").read_text("ascii")
    found = re.findall(r"#define (\w+) PATCHED_NUMBER\((\d+)\)", text)
    assert {name: int(key) for name, key in found} == {o.name: o for o in Option}
