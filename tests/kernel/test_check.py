"""The answers of `tccap check`, against what this kernel really does."""

import os
import platform
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "extcap" / "tccap.py"
SERIES = tuple(int(number) for number in platform.release().split(".")[:2])


@pytest.fixture(scope="module")
def findings() -> dict[str, str]:
    """Return mark and text by subject."""
    if os.geteuid() != 0:
        pytest.skip("trying what a kernel can do needs root: sudo make test")
    # The status also counts Wireshark's folders, where a checkout is not installed.
    result = subprocess.run(
        [SCRIPT, "check"], capture_output=True, text=True, check=False
    )
    assert result.stderr == ""
    lines = result.stdout.splitlines()[:-1]
    return {line[9:25].strip(): f"{line[:8].strip()}: {line[26:]}" for line in lines}


def test_the_classifiers_attach_by_the_best_way(findings: dict[str, str]) -> None:
    way = "TCX" if SERIES >= (6, 6) else "clsact"
    assert findings["ring buffer"] == "ok: BPF programs can use it"
    assert findings["classifiers"] == f"ok: load, and attach through {way}"


def test_uprobes_run(findings: dict[str, str]) -> None:
    assert findings["uprobes"] == "ok: programs attach and run"


def test_kprobes_are_found_where_the_kernel_has_them(findings: dict[str, str]) -> None:
    # Natively they depend on the kernel's build: kallsyms lists its functions.
    symbols = Path("/proc/kallsyms").read_text(encoding="ascii")
    built_in = " register_kprobe\n" in symbols
    assert findings["kprobes"].startswith("ok: " if built_in else "note: ")
