"""Parts of a capture: a made-up one beside the real ones."""

from collections.abc import Iterable
from typing import Any
from unittest.mock import MagicMock

import pytest

from tccap.bpf.code import Code
from tccap.engine import parts
from tccap.engine.parts import Part, Parts
from tccap.errors import TccapError
from tccap.front import options, request
from tccap.host.access import ALL, Caller

ROOT = Caller(0, 0, ALL, ALL, own=0)


class Echo:
    """Writes back the messages of one kind."""

    kinds = frozenset({7})

    def __init__(self, timeout_s: float | None, log: list[str]) -> None:
        self.timeout_s = timeout_s
        self._log = log

    def answer(self, message: bytes) -> Iterable[bytes]:
        return (message,)

    def read_text(self, text: bytes) -> Iterable[bytes]:
        return (text,)

    def addresses_changed(self) -> None:
        self._log.append("addresses")

    def poll(self) -> Iterable[bytes]:
        return (b"polled",)

    def finish(self) -> Iterable[bytes]:
        return (b"finished",)

    def counts(self) -> dict[str, int]:
        return {"echoes": 1}

    def close(self) -> None:
        self._log.append("closed")


class EchoChoice:
    code = Code()
    sets_probes = False

    def __init__(self, part: Part | None, *, starts_last: bool = False) -> None:
        self.starts_last = starts_last
        self._part = part

    def start(self, _collection: Any, _section: Any) -> Part | None:
        return self._part


def _parts(*choices: EchoChoice) -> Parts:
    return Parts(choices, MagicMock(), MagicMock())


def test_the_part_that_knows_a_kind_answers() -> None:
    made = _parts(EchoChoice(None), EchoChoice(Echo(None, [])))
    made.start(last=False)
    assert [*made.answer(b"seen\7")] == [b"seen\7"]
    with pytest.raises(TccapError, match="a message that is not known"):
        made.answer(b"seen\10")


def test_some_start_last() -> None:
    made = _parts(EchoChoice(Echo(None, []), starts_last=True))
    made.start(last=False)
    assert made.poll() == []
    made.start(last=True)
    assert made.poll() == [b"polled"]


def test_all_parts_are_asked() -> None:
    log: list[str] = []
    made = _parts(*(EchoChoice(Echo(each, log)) for each in (3.0, None, 2.0)))
    assert made.timeout_s is None
    made.start(last=False)
    assert made.timeout_s == 2.0
    assert made.read_text(b"text") == [b"text"] * 3
    assert made.finish() == [b"finished"] * 3
    assert made.counts() == {"echoes": 1}
    made.addresses_changed()
    made.close()
    assert log == ["addresses"] * 3 + ["closed"] * 3


def test_without_label_and_tls_nothing_runs() -> None:
    chosen = options.Options()._replace(label="off", tls="off")
    the_plan = request.plan("tccap-lo", "", chosen)
    collection = MagicMock()
    made = Parts(parts.choose(the_plan, ROOT), collection, MagicMock())
    made.start(last=False)
    made.start(last=True)
    assert collection.mock_calls == []
    assert (made.timeout_s, made.counts()) == (None, {})
    assert not made.set_probes
