"""What is kept for the next time; tests of the inspector show who is trusted."""

import os
from pathlib import Path

import pytest

from tccap.host import rootcache
from tccap.host.rootcache import RootCache

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root keeps answers")


@pytest.fixture(autouse=True)
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(rootcache, "TOP", tmp_path)
    return tmp_path


def test_what_was_used_last_stays(top: Path) -> None:
    cache = RootCache("answers", at_most=2)
    for age, name in enumerate(("old", "older")):
        cache.keep(name, name.encode())
        os.utime(top / "answers" / name, (1000 - age, 1000 - age))
    assert cache.get("older", bytes) == b"older"
    cache.keep("new", b"new")
    names = ("new", "old", "older")
    assert [cache.get(name, bytes) for name in names] == [b"new", None, b"older"]


def test_a_folder_that_cannot_be_made_costs_time_only(top: Path) -> None:
    (top / "answers").write_text("a file")
    cache = RootCache("answers")
    cache.keep("name", b"data")
    assert cache.get("name", bytes) is None
