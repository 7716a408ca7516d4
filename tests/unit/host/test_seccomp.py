"""Filters of system calls: what they let through, here and on the other machine."""

import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tccap.host import seccomp
from tccap.host.sandbox import CARRYING, COMPUTING, RESOLVING

SRC = str(Path(seccomp.__file__).parents[2])
PREPARE = """
import ctypes, os, sys
from tccap.host.seccomp import Only, Rules, REFUSE, install, _NUMBERS
libc = ctypes.CDLL(None, use_errno=True)
rest = frozenset(_NUMBERS) - {"getppid", "lseek", "uname"}
install(Rules(rest, {"lseek": Only(2, (1,))}, frozenset({"getppid"})))
"""


def run(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", PREPARE + code],
        env={"PYTHONPATH": SRC},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_allowed_call_works() -> None:
    assert run("print(os.getpid() > 0)").stdout == "True\n"


def test_another_call_is_refused() -> None:
    assert "PermissionError: [Errno 1]" in run("os.uname()").stderr


@pytest.mark.parametrize("code", ["os.getppid()", "os.lseek(0, 0, 2)"])
def test_a_forbidden_call_or_argument_kills(code: str) -> None:
    assert run(code).returncode == -signal.SIGSYS


def test_an_allowed_argument_works() -> None:
    code = "fd = os.open('/dev/zero', 0); print(os.lseek(fd, 0, 1))"
    assert run(code).stdout == "0\n"


@pytest.mark.parametrize("rules", [COMPUTING, RESOLVING])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_jumps_stay_inside(rules: seccomp.Rules, machine: str) -> None:
    code = [*struct.iter_unpack("=HBBI", seccomp.assemble(rules, machine))]
    assert 50 < len(code) <= 4096
    for at, (operation, true, false, _) in enumerate(code):
        if operation & 7 == 5:
            assert at + 1 + max(true, false) < len(code)
    assert code[-1][3] == seccomp.REFUSE


def test_each_number_is_the_kernels() -> None:
    header = Path(f"/usr/include/{os.uname().machine}-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip("needs the kernel's headers for programs (linux-libc-dev)")
    lines = (line.split() for line in header.read_text().splitlines())
    numbers = {f[1].removeprefix("__NR_"): f[2] for f in lines if len(f) == 3}
    for name, (number, _) in seccomp._NUMBERS.items():
        assert numbers[name] == str(number)


@pytest.mark.parametrize("rules", [COMPUTING, RESOLVING])
def test_no_call_has_two_rules(rules: seccomp.Rules) -> None:
    assert not rules.allowed & rules.killed
    assert not rules.allowed & rules.only.keys()
    assert not rules.killed & rules.only.keys()


def test_a_machine_that_is_not_known_has_no_sandbox(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    system = os.uname_result(("Linux", "host", "6.1", "#1", "riscv64"))
    monkeypatch.setattr(os, "uname", lambda: system)
    with pytest.raises(OSError, match="Function not implemented"):
        seccomp.install(CARRYING)
