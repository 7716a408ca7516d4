"""How long a search for sockets has taken."""

from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from tccap.ipc.channel import Search, Searched
from tccap.owners import search


def test_waiting_for_a_processor_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a busy host is searched so seldom that new sockets stay unknown."""
    clocks = {"thread": 5.0, "all": 7.0}
    monkeypatch.setattr(
        search,
        "time",
        SimpleNamespace(
            thread_time=lambda: clocks["thread"], monotonic=lambda: clocks["all"]
        ),
    )

    def run() -> None:
        clocks["thread"] += 0.25
        clocks["all"] += 2.0

    service: Any = search.OwnersService(
        MagicMock(), MagicMock(), MagicMock(run=run), MagicMock(), MagicMock()
    )
    assert [*service.answer(Search())] == [Searched(0.25)]
