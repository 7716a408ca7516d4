import os
import signal
from collections.abc import Iterator

import pytest

from tccap.front import signals


@pytest.fixture(autouse=True)
def _default() -> Iterator[None]:
    """Begin every test with the signals of a process that a terminal has started."""
    before = {number: signal.getsignal(number) for number in signals.STOP_SIGNALS}
    for number in before:
        signal.signal(number, signal.SIG_DFL)
    yield
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", signals.STOP_SIGNALS)
def test_each_stop_signal_is_handled(number: signal.Signals) -> None:
    seen: list[int] = []
    signals.on_stop(lambda number, _frame: seen.append(number))
    os.kill(os.getpid(), number)
    assert seen == [number]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_was_ignored_stays_ignored(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_IGN)
    seen: list[int] = []
    for _ in range(2):  # the front sets its handlers twice
        signals.on_stop(lambda number, _frame: seen.append(number))
    os.kill(os.getpid(), number)
    os.kill(os.getpid(), signal.SIGTERM)
    assert seen == [signal.SIGTERM]


def test_a_stop_signal_wakes_up_and_another_signal_is_none() -> None:
    fd = signals.wakeup()
    signals.on_stop(lambda *_: None)
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    os.kill(os.getpid(), signal.SIGALRM)
    assert not signals.is_stop(fd)
    os.kill(os.getpid(), signal.SIGALRM)
    os.kill(os.getpid(), signal.SIGHUP)
    assert signals.is_stop(fd)
    signal.signal(signal.SIGALRM, before)


def test_sigterm_is_handled_even_if_it_was_ignored() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    seen: list[int] = []
    signals.on_stop(lambda number, _frame: seen.append(number))
    os.kill(os.getpid(), signal.SIGTERM)
    assert seen == [signal.SIGTERM]
