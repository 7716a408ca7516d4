"""What the packets' loop asks; the thread is tested in tests/kernel."""

import builtins
import os

import pytest

from tccap.tls.tracing import Tracing
from tccap.tls.uprobes import Uprobes

PID = 7


def _no_probes() -> Uprobes:
    raise AssertionError


@pytest.fixture
def tracing() -> Tracing:
    return Tracing(_no_probes, lambda _pid: False, (), shows_paths=True)


def test_the_loop_reads_nothing(
    tracing: Tracing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process can have as much in /proc as it likes."""

    def fail(*_arguments: object, **_more: object) -> None:
        raise AssertionError

    for module, name in ((builtins, "open"), (os, "open"), (os, "stat")):
        monkeypatch.setattr(module, name, fail)
    assert tracing.may_trace(os.getpid()) is None
    assert tracing.handle_at(os.getpid()) is None
    assert tracing.take_answers() == []


def test_handles_are_where_the_libraries_of_the_process_have_them(
    tracing: Tracing,
) -> None:
    tracing._verdicts.record(PID, gives=True, handles_at=frozenset({8}))
    assert tracing.handle_at(PID) == 8
    tracing._verdicts.record(PID, gives=True, handles_at=frozenset({8, 16}))
    assert tracing.handle_at(PID) is None


def test_nothing_is_awaited_of_a_thread_that_has_failed(tracing: Tracing) -> None:
    assert tracing.may_trace(PID) is None
    tracing._verdicts.close()
    assert tracing.take_answers() == [(PID, False, None)]
    assert tracing.may_trace(PID) is False
