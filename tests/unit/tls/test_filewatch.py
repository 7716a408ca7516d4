"""Files that change, with the real inotify."""

import os
import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.running import DEADLINE_S
from tccap.tls.filewatch import FileWatch

QUEUED_MAX = Path("/proc/sys/fs/inotify/max_queued_events")


@pytest.fixture
def short_queue() -> Iterator[int]:
    """Limit the queue of new watches to a few events; return how many."""
    if os.geteuid() != 0:
        pytest.skip("only root may set how long the queue is")
    before = QUEUED_MAX.read_text()
    try:
        QUEUED_MAX.write_text("4")
    except OSError as error:
        pytest.skip(f"the queue's length cannot be set here: {error.strerror}")
    yield 4
    QUEUED_MAX.write_text(before)


def test_when_the_kernel_loses_count_each_file_may_have_changed(
    tmp_path: Path, short_queue: int
) -> None:
    changed: queue.SimpleQueue[int] = queue.SimpleQueue()
    is_busy, go_on = threading.Event(), threading.Event()

    def on_change(watch: int) -> None:
        changed.put(watch)
        is_busy.set()
        assert go_on.wait(DEADLINE_S)

    is_lost = threading.Event()
    watch = FileWatch(on_change, is_lost.set)
    files = [(tmp_path / str(n)).open("wb", buffering=0) for n in range(short_queue)]
    untouched = (tmp_path / "untouched").open("wb", buffering=0)
    numbers = [watch.add(file.fileno()) for file in (*files, untouched)]
    files[0].write(b"x")
    assert is_busy.wait(DEADLINE_S)  # and reads no more of the queue
    for _ in range(short_queue):
        for file in files:
            file.write(b"x")
    go_on.set()
    seen: set[int] = set()
    while seen != set(numbers):
        seen.add(changed.get(timeout=DEADLINE_S))
    assert is_lost.wait(DEADLINE_S)
    watch.remove(numbers[-1])
    watch.close()
    for file in (*files, untouched):
        file.close()


def test_each_watch_ends_with_its_first_change(tmp_path: Path) -> None:
    """So a file that is written to again and again fills no queue."""
    changed: queue.SimpleQueue[int] = queue.SimpleQueue()
    watch = FileWatch(changed.put, lambda: None)
    with (
        (tmp_path / "a").open("wb", buffering=0) as first,
        (tmp_path / "b").open("wb", buffering=0) as second,
    ):
        numbers = [watch.add(file.fileno()) for file in (first, second)]
        for _ in range(100):
            first.write(b"x")
        second.write(b"x")
        seen: list[int] = []
        while seen[-1:] != numbers[-1:]:
            seen.append(changed.get(timeout=DEADLINE_S))
        assert seen.count(numbers[0]) <= 2  # one more when the watch is gone
    watch.close()
