"""Work in a thread."""

import os
import select
import threading

import pytest

from tccap.engine.background import Background


def test_no_thread_is_left_when_there_is_a_result() -> None:
    before = threading.active_count()
    for _ in range(500):
        work = Background(lambda: 42)
        assert select.select([work.done_fd], [], [])[0]
        assert work.result() == 42
        assert threading.active_count() == before
        os.close(work.done_fd)


def test_an_exception_is_raised_where_the_result_is_taken() -> None:
    work = Background(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        work.result()
    os.close(work.done_fd)
