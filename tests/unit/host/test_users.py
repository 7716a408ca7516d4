import pytest

from tccap.host import users


def test_root_has_an_id() -> None:
    assert users.uid_of("root") == 0


@pytest.mark.parametrize("name", ["", "no-such-user", "a\0b", "\ud800"])
def test_unknown_names_have_none(name: str) -> None:
    assert users.uid_of(name) is None
