"""Users whose rights a process takes on."""

import os

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
