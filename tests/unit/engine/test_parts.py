"""Parts of a capture: a made-up one beside the real ones."""

from collections.abc import Iterable
from typing import Any
from unittest.mock import MagicMock

import pytest

from tccap.bpf.code import Code
from tccap.engine import parts
from tccap.engine.parts import Part, Parts, Service, Services
from tccap.errors import TccapError
from tccap.front import options, request
from tccap.host.access import ALL, Caller
from tccap.ipc.channel import MayTrace, Message, Search, Searched, Verdict

ROOT = Caller(0, 0, ALL, ALL, own=0)


class Echo:
    """Writes back the messages of one kind."""

    kinds = frozenset({7})
    hears = frozenset({Verdict})

    def __init__(self, timeout_s: float | None, log: list[str]) -> None:
        self.timeout_s = timeout_s
        self._log = log

    def answer(self, message: bytes) -> Iterable[bytes]:
        return (message,)

    def read_text(self, text: bytes) -> Iterable[bytes]:
        return (text,)

    def hear(self, message: Message) -> Iterable[bytes]:
        assert isinstance(message, Verdict)
        return (b"heard",)

    def poll(self) -> Iterable[bytes]:
        return (b"polled",)

    def finish(self) -> Iterable[bytes]:
        return (b"finished",)

    def counts(self) -> dict[str, int]:
        return {"echoes": 1}

    def close(self) -> None:
        self._log.append("closed")


class EchoService:
    """Returns the questions about processes."""

    requests = frozenset({MayTrace})
    news_fd = 5

    def __init__(self, log: list[str]) -> None:
        self._log = log

    def answer(self, request: Message) -> Iterable[Message]:
        return (request,)

    def take(self) -> Iterable[Message]:
        return ()

    def addresses_changed(self) -> None:
        self._log.append("addresses")

    def close(self) -> None:
        self._log.append("closed")


class EchoChoice:
    code = Code()
    sets_probes = False

    def __init__(
        self,
        part: Part | None,
        service: Service | None = None,
        *,
        starts_last: bool = False,
    ) -> None:
        self.starts_last = starts_last
        self._part = part
        self._service = service

    def serve(self, _collection: Any) -> Service | None:
        return self._service

    def carry(self, _collection: Any, _section: Any, _ask: Any) -> Part | None:
        return self._part


def _parts(*choices: EchoChoice) -> Parts:
    return Parts(choices, MagicMock(), MagicMock(), MagicMock())


def test_the_part_that_knows_a_kind_answers() -> None:
    made = _parts(EchoChoice(None), EchoChoice(Echo(None, [])))
    assert [*made.answer(b"seen\7")] == [b"seen\7"]
    with pytest.raises(TccapError, match="a message that is not known"):
        made.answer(b"seen\10")


def test_a_message_goes_to_those_that_take_it() -> None:
    made = _parts(EchoChoice(Echo(None, [])))
    assert made.hear(Verdict(7, may_give=True)) == [b"heard"]
    assert made.hear(Searched(1.0)) == []


def test_some_services_start_last() -> None:
    service = EchoService([])
    choices = (EchoChoice(None), EchoChoice(None, service, starts_last=True))
    made = Services(choices, MagicMock())
    made.start(last=False)
    assert made.answer(MayTrace(7)) == []
    assert made.with_news == []
    made.start(last=True)
    assert made.answer(MayTrace(7)) == [MayTrace(7)]
    assert made.answer(Search()) == []
    assert made.with_news == [service]


def test_all_parts_are_asked() -> None:
    log: list[str] = []
    made = _parts(*(EchoChoice(Echo(each, log)) for each in (3.0, None, 2.0)))
    assert _parts(EchoChoice(None)).timeout_s is None
    assert made.timeout_s == 2.0
    assert made.read_text(b"text") == [b"text"] * 3
    assert made.poll() == [b"polled"] * 3
    assert made.finish() == [b"finished"] * 3
    assert made.counts() == {"echoes": 1}
    made.close()
    assert log == ["closed"] * 3


def test_all_services_are_told() -> None:
    log: list[str] = []
    made = Services([EchoChoice(None, EchoService(log))] * 2, MagicMock())
    made.start(last=False)
    made.addresses_changed()
    made.close()
    assert log == ["addresses"] * 2 + ["closed"] * 2


def test_without_label_and_tls_nothing_runs() -> None:
    chosen = options.Options()._replace(label="off", tls="off")
    the_plan = request.plan("tccap-lo", "", chosen)
    collection = MagicMock()
    choices = parts.choose(the_plan, ROOT)
    made = Parts(choices, collection, MagicMock(), MagicMock())
    services = Services(choices, collection)
    services.start(last=False)
    services.start(last=True)
    assert collection.mock_calls == []
    assert (made.timeout_s, made.counts()) == (None, {})
    assert not parts.set_probes(choices)
