from pathlib import Path

import pytest

from tccap.host import users


def test_root_has_an_id() -> None:
    assert users.uid_of("root") == 0


@pytest.mark.parametrize("name", ["", "no-such-user", "a\0b", "\ud800"])
def test_unknown_names_have_none(name: str) -> None:
    assert users.uid_of(name) is None


def test_local_names_are_those_of_passwd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwd = tmp_path / "passwd"
    monkeypatch.setattr(users, "LOCAL", passwd)
    assert users.local_names() == {}
    passwd.write_bytes(b"root:x:0:0::/:\ntoor:x:0:0::/:\n+::::\nx\n\xff:x:7:\n#a:b\n")
    assert users.local_names() == {0: b"root", 7: b"\xff"}


def test_a_home_is_that_of_passwd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwd = tmp_path / "passwd"
    monkeypatch.setattr(users, "LOCAL", passwd)
    passwd.write_bytes(b"a:x:7:8:A:/home/a:/bin/sh\nb:x:7:8::/home/b:\nc:x:9\n")
    assert users.local_home(7) == "/home/a"
    assert users.local_home(9) == users.local_home(10) == ""
