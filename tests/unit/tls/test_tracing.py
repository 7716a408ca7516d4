"""What the packets' loop asks; the thread is tested in tests/kernel."""

import builtins
import os

import pytest

from tccap.ipc.channel import HandlesAt, MayTrace, Verdict
from tccap.tls.handles import LISTED
from tccap.tls.tracing import Tracing
from tccap.tls.uprobes import Uprobes

PID = 7


def _no_probes() -> tuple[Uprobes, None]:
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
    assert [*tracing.answer(MayTrace(os.getpid()))] == []


def test_handles_are_where_the_libraries_of_the_process_have_them(
    tracing: Tracing,
) -> None:
    tracing._verdicts.record(PID, gives=True, handles_at=frozenset({8}))
    assert [*tracing.take()] == [HandlesAt(PID, bytes([8]))]
    tracing._verdicts.record(PID, gives=True, handles_at=frozenset({8}))
    assert [*tracing.take()] == []
    tracing._verdicts.record(PID, gives=True, handles_at=frozenset({16, 8}))
    assert [*tracing.take()] == [HandlesAt(PID, bytes([8, 16]))]
    tracing._verdicts.keep(())
    assert [*tracing.take()] == [HandlesAt(PID, b"")]


def test_listed_libraries_are_not_forgotten_with_a_process(tracing: Tracing) -> None:
    tracing._verdicts.record_listed(frozenset({8}))
    tracing._verdicts.keep(())
    assert [*tracing.take()] == [HandlesAt(LISTED, bytes([8]))]


def test_processes_of_one_program_have_its_number(tracing: Tracing) -> None:
    for pid, program in ((1, (8, 100)), (2, (8, 100)), (3, (8, 101)), (4, None)):
        tracing._verdicts.answer(pid, may_give=False, program=program)
    verdicts = [each for each in tracing.take() if isinstance(each, Verdict)]
    first, second, other, ended = (each.program for each in verdicts)
    assert first == second
    assert len({0, 100, 101, first, other}) == 5
    assert ended == 0


def test_nothing_is_awaited_of_a_thread_that_has_failed(tracing: Tracing) -> None:
    assert tracing.may_trace(PID) is None
    tracing._verdicts.close()
    assert [*tracing.take()] == [Verdict(PID, may_give=False)]
    assert [*tracing.answer(MayTrace(PID))] == [Verdict(PID, may_give=False)]
    assert tracing.may_trace(PID) is False
