"""Slots for captures: so many a user, so many in all."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tccap.engine import slots
from tccap.errors import TccapError
from tccap.host import access
from tccap.host.access import OWN, Caller, Limits

SRC = str(Path(slots.__file__).parents[2])
HOLDER = """
import sys
from pathlib import Path
from tccap.engine import slots
from tccap.errors import TccapError
from tccap.host.access import OWN, Caller, Limits
slots.TOP = Path(sys.argv[1])
uid = int(sys.argv[2])
try:
    slots.take(Caller(uid, uid, OWN, OWN, own=uid, limits=Limits(2, 3)))
    print("taken", flush=True)
except TccapError as error:
    print(error, flush=True)
sys.stdin.read()
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root captures")


class Holders:
    """Processes that have taken a slot, or were refused."""

    def __init__(self, top: Path, stack: ExitStack) -> None:
        self._top = top
        self._stack = stack
        self.processes: list[subprocess.Popen[str]] = []

    def add(self, uid: int) -> str:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(self._top), str(uid)],
            env={"PYTHONPATH": SRC},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._stack.enter_context(process)
        self._stack.callback(process.kill)
        self.processes.append(process)
        assert process.stdout
        return process.stdout.readline().strip()


@pytest.fixture
def holders() -> Iterator[Holders]:
    with ExitStack() as stack:
        top = Path("/run/tccap-test-slots")
        top.mkdir(0o700)
        stack.callback(shutil.rmtree, top)
        yield Holders(top, stack)


def test_a_user_has_so_many_and_others_have_theirs(holders: Holders) -> None:
    assert [holders.add(1000) for _ in range(2)] == ["taken"] * 2
    assert holders.add(1000) == (
        "You have 2 captures already, and no user may have more: stop one, or have "
        "captures-per-user raised in /etc/tccap.conf."
    )
    assert holders.add(1001) == "taken"


def test_all_have_so_many_and_root_may_have_all_of_them(holders: Holders) -> None:
    assert [holders.add(0) for _ in range(3)] == ["taken"] * 3
    for uid in (0, 1000):
        assert holders.add(uid) == (
            "3 captures are running, and this machine allows no more: stop one, or "
            "have captures raised in /etc/tccap.conf."
        )


def test_a_slot_of_a_killed_process_is_free(holders: Holders) -> None:
    assert [holders.add(1000) for _ in range(2)] == ["taken"] * 2
    holders.processes[0].kill()
    holders.processes[0].wait()
    assert holders.add(1000) == "taken"


def test_a_folder_that_others_can_change_is_not_used(
    holders: Holders, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = holders._top
    (top / slots.FOLDER).mkdir()
    (top / slots.FOLDER).chmod(0o770)
    monkeypatch.setattr(slots, "TOP", top)
    with pytest.raises(TccapError, match="cannot be used to count captures"):
        slots.take(Caller(1000, 0, OWN, OWN, own=1000))
    slots.take(Caller(0, 0, OWN, OWN, own=0))


def test_the_numbers_are_the_administrators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tccap.conf"
    file.write_text("captures = 40\ncaptures-per-user = 1\n")
    monkeypatch.setattr(access, "CONFIGURATION", file)
    monkeypatch.delenv("SUDO_UID", raising=False)
    assert access.caller().limits == Limits(per_user=1, in_all=40)
    file.write_text("captures = 0\n")
    assert access.caller().limits == Limits()
    monkeypatch.setenv("SUDO_UID", "1000")
    monkeypatch.setenv("SUDO_GID", "1000")
    monkeypatch.setattr(access, "_need_pipes", lambda _uid: None)
    with pytest.raises(TccapError, match="captures is a number from 1 to 1000"):
        access.caller()
