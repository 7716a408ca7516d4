"""Which connections may get secrets, by the processes at their ends."""

import pytest

from tccap.stream.abi import ELSEWHERE
from tccap.tls.prospects import CREDIT_OF_FORWARDER, Prospects

CLIENT, PROXY, SERVER, WORKER = 10, 20, 30, 40
ONE, TWO = 1, 2


class Processes:
    """What is known of processes: nothing, until it is said."""

    def __init__(self) -> None:
        self.give: dict[int, bool | None] = {}

    def may_give(self, pid: int) -> bool | None:
        return self.give.get(pid)


@pytest.fixture
def processes() -> Processes:
    return Processes()


@pytest.fixture
def prospects(processes: Processes) -> Prospects:
    return Prospects(processes.may_give)


def _spend_credit(prospects: Prospects, pid: int) -> None:
    """Let a connection of a program wait for nothing."""
    number = 1000 + pid
    prospects.hello(number, pid, ELSEWHERE)
    prospects.settle(pid, False, (8, pid))
    prospects.waited_for_nothing(number)


def test_a_connection_is_hopeless_when_no_process_gives_secrets(
    prospects: Prospects, processes: Processes
) -> None:
    processes.give = {PROXY: False, SERVER: False}
    _spend_credit(prospects, PROXY)
    _spend_credit(prospects, SERVER)
    assert not prospects.hello(ONE, PROXY, SERVER)


def test_one_end_of_any_flow_is_enough(
    prospects: Prospects, processes: Processes
) -> None:
    processes.give = {CLIENT: True, PROXY: False, SERVER: False}
    _spend_credit(prospects, PROXY)
    _spend_credit(prospects, SERVER)
    assert prospects.hello(ONE, CLIENT, PROXY)
    assert prospects.hello(ONE, PROXY, SERVER)
    assert not prospects.hello(TWO, ELSEWHERE, SERVER)


def test_an_answer_makes_a_connection_hopeless(prospects: Prospects) -> None:
    _spend_credit(prospects, PROXY)
    assert prospects.hello(ONE, PROXY, ELSEWHERE)
    assert prospects.is_waiting
    assert prospects.settle(PROXY, False, (8, PROXY)) == [ONE]
    assert not prospects.is_waiting


def test_an_answer_that_nobody_waits_for_is_ignored(prospects: Prospects) -> None:
    assert prospects.settle(PROXY, False, None) == []


def test_a_program_that_is_not_known_waits_for_nothing_once(
    prospects: Prospects,
) -> None:
    assert prospects.hello(ONE, PROXY, ELSEWHERE)
    assert prospects.settle(PROXY, False, (8, 1)) == []
    prospects.waited_for_nothing(ONE)
    # Another process of the same program.
    assert prospects.hello(TWO, WORKER, ELSEWHERE)
    assert prospects.settle(WORKER, False, (8, 1)) == [TWO]


def test_secrets_from_elsewhere_show_that_a_program_forwards(
    prospects: Prospects, processes: Processes
) -> None:
    processes.give = {PROXY: False}
    _spend_credit(prospects, PROXY)
    assert not prospects.hello(ONE, PROXY, ELSEWHERE)
    prospects.gave_secret(ONE, CLIENT)
    for number in range(2, 2 + CREDIT_OF_FORWARDER):
        assert prospects.hello(number, PROXY, ELSEWHERE)
        prospects.waited_for_nothing(number)
    assert not prospects.hello(100, PROXY, ELSEWHERE)


def test_a_hello_that_is_passed_on_shows_it_too(
    prospects: Prospects, processes: Processes
) -> None:
    processes.give = {PROXY: False, SERVER: False, CLIENT: False}
    for pid in (CLIENT, PROXY, SERVER):
        _spend_credit(prospects, pid)
    assert not prospects.hello(ONE, CLIENT, PROXY)
    assert prospects.hello(ONE, PROXY, SERVER)


def test_the_worker_that_answers_replaces_the_listener(
    prospects: Prospects, processes: Processes
) -> None:
    processes.give = {SERVER: True, WORKER: False}
    _spend_credit(prospects, WORKER)
    assert prospects.hello(ONE, ELSEWHERE, SERVER)
    assert not prospects.server_hello(ONE, ELSEWHERE, WORKER)
    assert prospects.hello(TWO, ELSEWHERE, SERVER)
    assert prospects.server_hello(TWO, ELSEWHERE, 0)


def test_an_unknown_process_may_give_secrets(prospects: Prospects) -> None:
    assert prospects.hello(ONE, 0, ELSEWHERE)
    assert prospects.server_hello(TWO, 0, ELSEWHERE)
