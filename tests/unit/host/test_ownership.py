"""Which processes are a user's own; the processes are real."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tccap.host import ownership

ANOTHER = 4712
# An ordinary user: root's programs have capabilities.
USER = os.getuid() or 4711
GROUP = os.getgid() or 4711
_WAIT = "print(1, flush=True); input()"
_NOT_DUMPABLE = f"import ctypes; ctypes.CDLL(None).prctl(4, 0); {_WAIT}"
SHELL = ("sh", "-c", "echo 1; read line")


@contextlib.contextmanager
def _running(*command: str, group: int = GROUP) -> Iterator[int]:
    """Run a program of the user until it waits for a line; yield its pid."""
    is_root = os.getuid() == 0
    ids = {"user": USER, "group": group, "extra_groups": []} if is_root else {}
    with subprocess.Popen(
        ("env", *command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        **ids,  # type: ignore[call-overload]
    ) as process:
        assert process.stdout.readline() == b"1\n"
        try:
            yield process.pid
        finally:
            process.stdin.close()


@contextlib.contextmanager
def _special(uid: int, gid: int, mode: int) -> Iterator[str]:
    """Yield a copy of cat, which waits for a line, with these rights; needs root."""
    if os.getuid() != 0:
        pytest.skip("only root can make such a program")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        program = Path(name) / "program"
        shutil.copy("/usr/bin/cat", program)
        os.chown(program, uid, gid)
        program.chmod(mode)
        yield str(program)


def _is_own_while_it_runs(program: str) -> bool:
    with subprocess.Popen(
        ("env", program),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        user=USER,
        group=GROUP,
        extra_groups=[],
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"1\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"1\n"
        found = ownership.is_own(process.pid, USER, GROUP)
        process.stdin.close()
        return found


def test_an_ordinary_program_is_its_users() -> None:
    with _running(*SHELL) as pid:
        assert ownership.is_own(pid, USER, GROUP)
        assert not ownership.is_own(pid, ANOTHER, GROUP)
        assert not ownership.is_own(pid, USER, ANOTHER)


def test_a_program_that_is_not_dumpable_is_nobodys() -> None:
    with _running(sys.executable, "-c", _NOT_DUMPABLE) as pid:
        assert not ownership.is_own(pid, USER, GROUP)


def test_a_program_in_a_namespace_of_the_user_is_the_users() -> None:
    """Although it has all capabilities there."""
    with _running("unshare", "-Ur", "unshare", "-Ur", *SHELL) as pid:
        assert ownership.is_own(pid, USER, GROUP)


@pytest.mark.parametrize(
    ("uid", "gid", "mode", "is_own"),
    [
        (0, 0, 0o755, True),
        (0, ANOTHER, 0o2755, False),
        (ANOTHER, 0, 0o4755, False),
        (0, 0, 0o711, False),
    ],
)
def test_programs_with_more_rights_than_their_user(
    uid: int, gid: int, mode: int, is_own: bool
) -> None:
    with _special(uid, gid, mode) as program:
        assert _is_own_while_it_runs(program) == is_own


def test_a_program_with_a_file_capability_is_not_its_users() -> None:
    with _special(0, 0, 0o755) as program:
        subprocess.run(["setcap", "cap_net_raw+ep", program], check=True)
        assert not _is_own_while_it_runs(program)


def test_a_process_that_is_gone_is_nobodys() -> None:
    assert not ownership.is_own(1 << 22, USER, GROUP)


@pytest.mark.parametrize(
    ("scope", "is_only_roots"),
    [("0\n", False), ("1\n", False), ("2\n", True), ("3\n", True), ("", False)],
)
def test_yama_may_leave_tracing_to_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scope: str, is_only_roots: bool
) -> None:
    file = tmp_path / "ptrace_scope"
    monkeypatch.setattr(ownership, "PTRACE_SCOPE", file)
    assert not ownership.is_only_roots()
    file.write_text(scope)
    assert ownership.is_only_roots() == is_only_roots
