"""The answers of `tccap check`, against what this kernel really does."""

import json
import os
import platform
import re
import subprocess
from pathlib import Path

import pytest

from support import running

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


def _without(capabilities: str, *command: str, text: str = "") -> str:
    """Run a command as root without some capabilities; return what it says."""
    bounds = ",".join(f"-{name}" for name in capabilities.split())
    done = subprocess.run(
        ["setpriv", f"--bounding-set={bounds}", *command],
        input=text,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.full_matrix
@pytest.mark.parametrize(
    ("capabilities", "options"),
    [
        ("sys_admin bpf", "--cap-add BPF"),
        ("sys_admin bpf perfmon", "--cap-add BPF --cap-add PERFMON"),
        ("net_admin", "--cap-add NET_ADMIN"),
    ],
)
def test_capabilities_that_a_container_lacks_are_named(
    capabilities: str, options: str
) -> None:
    plan = json.dumps({**running.PLAN, "device": "lo"})
    engine = _without(capabilities, *running.engine_command(), text=f"{plan}\n")
    checked = _without(capabilities, str(SCRIPT), "check")
    for said in (engine, checked):
        assert f"start the container with docker run {options}." in said
    assert "could not prepare" not in checked


def test_without_sys_admin_a_capture_works() -> None:
    plan = json.dumps({**running.PLAN, "device": "lo"})
    engine = _without("sys_admin", *running.engine_command(), text=f"{plan}\n")
    assert '"error"' not in engine
    classifiers = _without("sys_admin", str(SCRIPT), "check")
    assert "load; that they attach was not tried" in classifiers


def test_sandboxes_work_here(findings: dict[str, str]) -> None:
    assert findings["sandboxes"].startswith("ok: processes get a user of their own")


def test_a_container_without_other_users_is_noted() -> None:
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", SCRIPT, "check"],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare: " in done.stderr:
        pytest.skip("needs user namespaces")
    assert re.search(
        r"^note +sandboxes +as user 0, without rights: map more user ids",
        done.stdout,
        re.MULTILINE,
    )
