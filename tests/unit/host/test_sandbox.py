"""Users whose rights a process takes on."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tccap.host import sandbox


def test_an_unused_user_is_another_one_each_time() -> None:
    found = {sandbox.unused() for _ in range(20)}
    assert len(found) == 20
    assert all(2_000_000_000 < user.uid == user.gid < 1 << 31 for user in found)


def test_an_id_of_a_running_process_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sandbox, "_UNUSED", (os.getuid(), 4711))
    assert {sandbox.unused().uid for _ in range(20)} == {4711}


def test_a_users_group_is_in_the_user_database() -> None:
    assert sandbox.user(0) == (0, 0)
    assert sandbox.user(2_100_000_000) == (2_100_000_000, 65534)


SHOW = """
from tccap.host import sandbox
status = open("/proc/self/status")
sandbox.enter(None, {}, sandbox.COMPUTING)
print(status.read())
"""


def shown(*command: str) -> dict[str, str]:
    """Return the status of a process in a sandbox."""
    done = subprocess.run(
        [*command, sys.executable, "-c", SHOW],
        env={"PYTHONPATH": str(Path(sandbox.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare: " in done.stderr:
        pytest.skip("needs user namespaces")
    return dict(re.findall(r"^(\w+):\t(.*)$", done.stdout, re.MULTILINE))


def test_where_no_other_user_is_root_has_no_rights_left() -> None:
    status = shown("unshare", "--user", "--map-root-user")
    assert status["Uid"].split()[0] == "0"
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes others")
def test_root_becomes_a_user_that_does_not_exist() -> None:
    status = shown()
    assert int(status["Uid"].split()[0]) > 2_000_000_000
    assert int(status["CapPrm"], 16) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes others")
def test_an_ordinary_user_stays_the_same() -> None:
    status = shown("setpriv", "--reuid=4711", "--regid=4711", "--clear-groups")
    assert set(status["Uid"].split()) == {"4711"}
    assert status["Seccomp"] == "2"
