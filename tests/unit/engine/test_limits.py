"""Limits that the caller of the engine chose."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[3] / "src"
RESET = f"""
import sys
sys.path.insert(0, {str(SRC)!r})
from tccap.engine import limits
limits.reset()
"""
SMALL = {
    "AS": 200 << 20,
    "CPU": 3,
    "DATA": 100 << 20,
    "FSIZE": 0,
    "MEMLOCK": 0,
    "MSGQUEUE": 0,
    "NOFILE": 30,
    "NPROC": 5,
    "RSS": 0,
    "RTTIME": 1000,
    "SIGPENDING": 0,
    "STACK": 256 << 10,
}
UNLIMITED = resource.RLIM_INFINITY
RAISED = dict.fromkeys(SMALL, UNLIMITED) | {"STACK": 8 << 20}
SYS_RESOURCE = 24


def run(before: str, shown: str) -> str:
    """Return what a process shows that reset its limits after some preparation."""
    script = f"import resource, signal, os\n{before}\n{RESET}\nprint({shown})"
    return subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    ).stdout.strip()


def limit_after(name: str, hard: int) -> tuple[int, int]:
    """Return a limit that was small, with this hard limit, after the reset."""
    kind = f"resource.RLIMIT_{name}"
    lower = f"resource.setrlimit({kind}, ({SMALL[name]}, {hard}))"
    soft, new_hard = run(lower, f"*resource.getrlimit({kind})").split()
    return int(soft), int(new_hard)


def has_capability(number: int) -> bool:
    text = Path("/proc/self/status").read_text().split("CapEff:")[1].split()[0]
    return bool(int(text, 16) >> number & 1)


@pytest.mark.skipif(not has_capability(SYS_RESOURCE), reason="needs CAP_SYS_RESOURCE")
@pytest.mark.parametrize("name", SMALL)
def test_a_small_hard_limit_is_raised(name: str) -> None:
    limit = limit_after(name, hard=SMALL[name])
    if name == "NOFILE":
        wanted = min(65536, int(Path("/proc/sys/fs/nr_open").read_text()))
        assert limit == (wanted, wanted)
    else:
        assert limit == (RAISED[name], RAISED[name])


@pytest.mark.parametrize("name", SMALL)
def test_a_soft_limit_is_never_below_the_hard_one(name: str) -> None:
    before = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[1]
    soft, hard = limit_after(name, hard=before)
    assert soft == hard
    if name != "STACK" and before != UNLIMITED:
        assert soft >= before or soft == UNLIMITED


def test_a_hard_limit_that_cannot_be_raised_is_used_up() -> None:
    lower = "resource.setrlimit(resource.RLIMIT_NOFILE, (20, 30))\n"
    if os.geteuid() == 0:
        lower += "os.setuid(65534)"
    assert run(lower, "resource.getrlimit(resource.RLIMIT_NOFILE)") == "(30, 30)"


def test_timers_that_survive_execve_are_stopped() -> None:
    timers = ("REAL", "VIRTUAL", "PROF")
    start = ";".join(f"signal.setitimer(signal.ITIMER_{t}, 60)" for t in timers)
    shown = ",".join(f"signal.getitimer(signal.ITIMER_{t})[0]" for t in timers)
    assert run(start, shown) == "0.0 0.0 0.0"


def test_neither_umask_nor_folder_are_the_callers(tmp_path: Path) -> None:
    before = f"os.umask(0); os.chdir({str(tmp_path)!r})"
    assert run(before, "os.getcwd(), os.umask(0)") == "/ 63"


def test_no_core_file_is_written() -> None:
    assert run("", "resource.getrlimit(resource.RLIMIT_CORE)") == "(0, 0)"
