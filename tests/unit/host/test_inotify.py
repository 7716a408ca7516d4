"""inotify(7), with the real kernel."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tccap.host.inotify import Event, Inotify, Mask


@pytest.fixture
def inotify() -> Iterator[Inotify]:
    made = Inotify()
    yield made
    made.close()


def test_without_events_nothing_is_waited_for(inotify: Inotify) -> None:
    assert inotify.read() == []


def test_events_in_a_folder_have_names(inotify: Inotify, tmp_path: Path) -> None:
    watch = inotify.add(bytes(tmp_path), Mask.CREATE | Mask.MODIFY)
    (tmp_path / "a").write_bytes(b"text")
    (tmp_path / "longer than that").touch()
    assert inotify.read() == [
        Event(watch, Mask.CREATE, b"a"),
        Event(watch, Mask.MODIFY, b"a"),
        Event(watch, Mask.CREATE, b"longer than that"),
    ]


def test_an_event_of_a_file_has_no_name(inotify: Inotify, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    watch = inotify.add(bytes(file), Mask.CLOSE_WRITE)
    file.write_bytes(b"text")
    assert inotify.read() == [Event(watch, Mask.CLOSE_WRITE, b"")]


def test_a_removed_watch_reports_nothing(inotify: Inotify, tmp_path: Path) -> None:
    watch = inotify.add(bytes(tmp_path), Mask.CREATE)
    inotify.remove(watch)
    (tmp_path / "file").touch()
    assert [each for each in inotify.read() if each.name] == []
    with pytest.raises(OSError, match="Invalid argument"):
        inotify.remove(watch)
