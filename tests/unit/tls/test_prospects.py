"""Which connections may get secrets, by the processes at their ends."""

import pytest

from tccap.ipc.channel import GotNoSecrets, MayTrace
from tccap.stream.abi import ELSEWHERE
from tccap.tls.hold import CONNECTIONS_MAX
from tccap.tls.prospects import CREDIT_OF_FORWARDER, Prospects

CLIENT, PROXY, SERVER, WORKER = 10, 20, 30, 40
ONE, TWO = 1, 2


class Engine:
    """Answers about processes at once, or later: where it is not said that they give.

    Each pid is that of a program of its own.
    """

    def __init__(self) -> None:
        self.give: dict[int, bool] = {}
        self.asked: list[int] = []
        self.silent: list[GotNoSecrets] = []
        self.prospects = Prospects(self.ask)

    def ask(self, question: MayTrace | GotNoSecrets) -> None:
        """Take a message to the engine."""
        if isinstance(question, MayTrace):
            self.asked.append(question.pid)
        else:
            self.silent.append(question)

    def answer(self) -> list[int]:
        """Answer what is known; return the connections that are hopeless now."""
        asked, self.asked = self.asked, []
        hopeless = []
        for pid in asked:
            if pid in self.give:
                hopeless += self.prospects.settle(pid, self.give[pid], pid)
        return hopeless

    def hello(self, number: int, client: int, server: int) -> bool:
        """Return whether there is hope when all answers have come."""
        hope = self.prospects.hello(number, client, server)
        return number not in self.answer() and hope

    def server_hello(self, number: int, client: int, server: int) -> bool:
        """Return the same."""
        hope = self.prospects.server_hello(number, client, server)
        return number not in self.answer() and hope

    def spend_credit(self, pid: int) -> None:
        """Let a connection of a program wait for nothing."""
        number = 1000 + pid
        self.prospects.hello(number, pid, ELSEWHERE)
        self.prospects.settle(pid, False, pid)
        self.prospects.waited_for_nothing(number)
        self.asked.clear()


@pytest.fixture
def engine() -> Engine:
    return Engine()


def test_a_connection_is_hopeless_when_no_process_gives_secrets(engine: Engine) -> None:
    engine.give = {PROXY: False, SERVER: False}
    engine.spend_credit(PROXY)
    engine.spend_credit(SERVER)
    assert not engine.hello(ONE, PROXY, SERVER)


def test_one_end_of_any_flow_is_enough(engine: Engine) -> None:
    engine.give = {CLIENT: True, PROXY: False, SERVER: False}
    engine.spend_credit(PROXY)
    engine.spend_credit(SERVER)
    assert engine.hello(ONE, CLIENT, PROXY)
    assert engine.hello(ONE, PROXY, SERVER)
    assert not engine.hello(TWO, ELSEWHERE, SERVER)


def test_a_connection_waits_for_the_answers_about_all_its_ends(engine: Engine) -> None:
    engine.spend_credit(PROXY)
    engine.spend_credit(SERVER)
    prospects = engine.prospects
    assert prospects.hello(ONE, PROXY, SERVER)
    assert prospects.hello(TWO, ELSEWHERE, SERVER)
    assert engine.asked == [PROXY, SERVER, SERVER]
    assert prospects.settle(SERVER, False, 0) == [TWO]
    assert prospects.settle(PROXY, False, 0) == [ONE]
    assert prospects.settle(SERVER, False, 0) == []


def test_an_answer_that_nobody_waits_for_is_ignored(engine: Engine) -> None:
    assert engine.prospects.settle(PROXY, False, 0) == []


def test_no_process_is_waited_for_on_behalf_of_a_forgotten_connection(
    engine: Engine,
) -> None:
    for number in range(CONNECTIONS_MAX + 1):
        assert engine.prospects.hello(number, 0, SERVER + number % 2)
    assert len(engine.prospects._waiting[SERVER]) == CONNECTIONS_MAX // 2
    assert 0 not in engine.prospects._waiting[SERVER]


def test_a_program_that_is_not_known_waits_for_nothing_once(engine: Engine) -> None:
    prospects = engine.prospects
    assert prospects.hello(ONE, PROXY, ELSEWHERE)
    assert prospects.settle(PROXY, False, 8) == []
    prospects.waited_for_nothing(ONE)
    # Another process of the same program.
    assert prospects.hello(TWO, WORKER, ELSEWHERE)
    assert prospects.settle(WORKER, False, 8) == [TWO]


def test_secrets_from_elsewhere_show_that_a_program_forwards(engine: Engine) -> None:
    engine.give = {PROXY: False}
    engine.spend_credit(PROXY)
    assert not engine.hello(ONE, PROXY, ELSEWHERE)
    engine.prospects.gave_secret(ONE, CLIENT)
    for number in range(2, 2 + CREDIT_OF_FORWARDER):
        assert engine.hello(number, PROXY, ELSEWHERE)
        engine.prospects.waited_for_nothing(number)
    assert not engine.hello(100, PROXY, ELSEWHERE)


def test_secrets_that_come_before_the_answer_show_it_too(engine: Engine) -> None:
    engine.spend_credit(PROXY)
    prospects = engine.prospects
    assert prospects.hello(ONE, PROXY, ELSEWHERE)
    prospects.gave_secret(ONE, CLIENT)
    assert prospects.settle(PROXY, False, PROXY) == []
    assert prospects.hello(TWO, PROXY, ELSEWHERE)
    assert prospects.settle(PROXY, False, PROXY) == []


def test_a_hello_that_is_passed_on_shows_it_too(engine: Engine) -> None:
    engine.give = {PROXY: False, SERVER: False, CLIENT: False}
    for pid in (CLIENT, PROXY, SERVER):
        engine.spend_credit(pid)
    assert not engine.hello(ONE, CLIENT, PROXY)
    assert engine.hello(ONE, PROXY, SERVER)


def test_the_worker_that_answers_replaces_the_listener(engine: Engine) -> None:
    engine.give = {SERVER: True, WORKER: False}
    engine.spend_credit(WORKER)
    assert engine.hello(ONE, ELSEWHERE, SERVER)
    assert not engine.server_hello(ONE, ELSEWHERE, WORKER)
    assert engine.hello(TWO, ELSEWHERE, SERVER)
    assert engine.server_hello(TWO, ELSEWHERE, 0)


def test_an_unknown_process_may_give_secrets(engine: Engine) -> None:
    assert engine.hello(ONE, 0, ELSEWHERE)
    assert engine.server_hello(TWO, 0, ELSEWHERE)
    assert engine.asked == []


def test_processes_that_were_to_give_secrets_and_gave_none_are_named(
    engine: Engine,
) -> None:
    engine.give = {CLIENT: True, SERVER: False}
    assert engine.hello(ONE, CLIENT, SERVER)
    engine.prospects.report_silent(ONE, 300)
    assert engine.silent == [GotNoSecrets(CLIENT, 300)]
    engine.prospects.report_silent(ONE + 1, 300)
    assert len(engine.silent) == 1
