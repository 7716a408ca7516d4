"""Held packets: secrets first, nothing lost or reordered, nothing held for ever."""

import itertools
from collections import defaultdict
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tccap.stream import abi
from tccap.stream.abi import HeldPacket, MessageKind
from tccap.tls import hold, keylog
from tccap.tls.hold import Hold
from tccap.tls.keylog import Secret

TLS13 = (
    "SERVER_HANDSHAKE_TRAFFIC_SECRET",
    "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
    "SERVER_TRAFFIC_SECRET_0",
    "CLIENT_TRAFFIC_SECRET_0",
)
WAIT_S = 0.3
FLOW = b"flow"
HELLO, ANSWER, KEYED, END = (
    *(MessageKind.HELD_SERVER_HELLO, MessageKind.HELD_ANSWER),
    *(MessageKind.HELD_KEYED, MessageKind.HELD_END),
)


def _number(connection: int) -> int:
    return abi.connection_id(_random(connection))


def _random(number: int) -> bytes:
    return bytes([number + 1]) * 32


def _secret(label: str, number: int = 0, fill: bytes = b"s") -> Secret:
    return Secret(label, _random(number), fill * 32)


def _packet(
    name: bytes, number: int = 0, kind: MessageKind = MessageKind.HELD
) -> HeldPacket:
    return HeldPacket(abi.connection_id(_random(number)), kind, memoryview(name))


@pytest.fixture
def held() -> Hold:
    """A hold with a ServerHello that has been held since 10 s."""
    made = Hold(WAIT_S)
    assert made.hello(FLOW, _random(0), 9.0, may_get_secrets=True) == []
    assert made.packet(_packet(b"hello", kind=HELLO), 10.0) == []
    assert made.take_unmarked() == []
    return made


def test_a_failed_handshake_goes_on_soon_after_its_end(held: Hold) -> None:
    """Half of its secrets came; the others never will."""
    secrets = [_secret(label) for label in TLS13[:2]]
    for secret in secrets:
        assert held.secret(secret, 10.0) == [keylog.block(secret)]
    assert held.expire(10.4) == []
    assert held.packet(_packet(b"fin", kind=END), 10.5) == []
    assert held.packet(_packet(b"reset", kind=END), 10.55) == []
    assert held.timeout_s(10.55) == pytest.approx(0.05)
    assert held.expire(10.59) == []
    assert held.expire(10.61) == [b"hello", b"fin", b"reset"]


def test_a_secret_that_is_read_soon_after_the_end_is_in_time(held: Hold) -> None:
    assert held.packet(_packet(b"fin", kind=END), 10.1) == []
    secret = _secret("CLIENT_RANDOM")
    assert held.secret(secret, 10.15) == [keylog.block(secret), b"hello", b"fin"]


def test_an_end_makes_no_wait_longer(held: Hold) -> None:
    assert held.packet(_packet(b"key", kind=ANSWER), 10.0) == []
    assert held.packet(_packet(b"fin", kind=END), 10.25) == []
    assert held.expire(10.31) == [b"hello", b"key", b"fin"]


def test_packets_pass_when_it_is_known_that_no_secret_comes(held: Hold) -> None:
    assert held.give_up(_number(1), 10.1) == []
    assert held.give_up(_number(0), 10.1) == [b"hello"]
    assert held.take_unmarked() == [FLOW]
    assert held.packet(_packet(b"late"), 10.2) == [b"late"]
    assert held.give_up(_number(0), 10.2) == []


def test_secrets_prove_that_more_may_come(held: Hold) -> None:
    held.secret(_secret(TLS13[0]), 10.0)
    assert held.give_up(_number(0), 10.1) == []


def test_tls_1_2_goes_on_with_its_one_secret(held: Hold) -> None:
    secret = _secret("CLIENT_RANDOM")
    assert held.packet(_packet(b"key"), 10.1) == []
    assert held.secret(secret, 10.2) == [keylog.block(secret), b"hello", b"key"]
    assert held.take_unmarked() == [FLOW]
    assert held.packet(_packet(b"late"), 10.3) == [b"late"]
    assert held.take_unmarked() == []
    assert held.counts().longest_wait_s == pytest.approx(0.2)
    assert held.counts().median_wait_s == pytest.approx(0.2)


@pytest.mark.parametrize("labels", [*itertools.permutations(TLS13)])
def test_tls_1_3_goes_on_with_all_of_its_four(
    held: Hold, labels: tuple[str, ...]
) -> None:
    *first, last = map(_secret, labels)
    for secret in first:
        assert held.secret(secret, 10.1) == [keylog.block(secret)]
    assert held.packet(_packet(b"finished"), 10.2) == []
    out = held.secret(last, 10.3)
    assert out == [keylog.block(last), b"hello", b"finished"]
    assert held.counts().with_secrets == 1


def test_secrets_that_come_first_are_written_at_the_hello() -> None:
    made = Hold(WAIT_S)
    secrets = [*map(_secret, TLS13)]
    assert [made.secret(secret, 1.0) for secret in secrets] == [[]] * 4
    out = made.hello(FLOW, _random(0), 2.0, may_get_secrets=False)
    assert out == [*map(keylog.block, secrets)]
    assert made.packet(_packet(b"hello", kind=HELLO), 2.1) == [b"hello"]
    assert FLOW in made.take_unmarked()


def test_secrets_of_other_connections_are_not_written(held: Hold) -> None:
    assert held.secret(_secret("CLIENT_RANDOM", number=1), 10.1) == []
    assert held.finish(10.2) == [b"hello"]


def test_a_secret_is_written_once(held: Hold) -> None:
    for label in ("EXPORTER_SECRET", "CLIENT_RANDOM"):
        assert held.secret(_secret(label), 10.1)[0] == keylog.block(_secret(label))
        assert held.secret(_secret(label), 10.1) == []
    assert held.counts().refused == 0


def test_of_two_secrets_for_one_label_the_first_holds(held: Hold) -> None:
    assert held.secret(_secret("EXPORTER_SECRET"), 10.1)
    assert held.secret(_secret("EXPORTER_SECRET", fill=b"x"), 10.1) == []
    assert held.counts().refused == 1


def test_late_secrets_are_written_too(held: Hold) -> None:
    held.secret(_secret("CLIENT_RANDOM"), 10.1)
    late = _secret("EXPORTER_SECRET")
    assert held.secret(late, 11.0) == [keylog.block(late)]


def test_without_a_secret_the_wait_is_short_once_the_client_has_answered(
    held: Hold,
) -> None:
    assert held.packet(_packet(b"key", kind=ANSWER), 11.0) == []
    assert held.packet(_packet(b"finished", kind=ANSWER), 11.1) == []
    assert held.timeout_s(11.0) == pytest.approx(WAIT_S)
    assert held.expire(11.0 + 0.9 * WAIT_S) == []
    assert held.expire(11.0 + WAIT_S) == [b"hello", b"key", b"finished"]
    assert held.take_unmarked() == [FLOW]
    assert held.counts().timed_out == 1
    assert held.timeout_s(20.0) is None


def test_a_client_may_take_its_time(held: Hold) -> None:
    assert held.timeout_s(10.0) == pytest.approx(hold.SECRETS_WAIT_S)
    assert held.expire(12.9) == []
    secret = _secret("CLIENT_RANDOM")
    assert held.packet(_packet(b"key", kind=ANSWER), 12.9) == []
    assert held.secret(secret, 12.95) == [keylog.block(secret), b"hello", b"key"]


def test_a_client_that_never_answers_is_not_waited_for(held: Hold) -> None:
    assert held.expire(10.0 + hold.SECRETS_WAIT_S) == [b"hello"]


def test_a_connection_whose_client_has_keys_is_named(held: Hold) -> None:
    assert held.packet(_packet(b"key", kind=KEYED), 10.5) == []
    assert held.expire(11.0) == [b"hello", b"key"]
    assert held.take_without_secrets() == [(_number(0), 1.0, True)]
    assert held.take_without_secrets() == []


def test_a_short_connection_is_named_too(held: Hold) -> None:
    held.packet(_packet(b"key", kind=KEYED), 10.5)
    held.packet(_packet(b"end", kind=END), 10.5)
    held.expire(11.0)
    assert held.take_without_secrets() == [(_number(0), 1.0, True)]


@pytest.mark.parametrize("kinds", [[ANSWER], [ANSWER, END], [END]])
def test_a_handshake_that_has_failed_had_no_secrets(
    held: Hold, kinds: list[MessageKind]
) -> None:
    """The client's alert is an answer, too."""
    for kind in kinds:
        held.packet(_packet(b"a packet", kind=kind), 10.5)
    held.expire(11.0)
    assert held.take_without_secrets() == [(_number(0), 1.0, False)]


def test_who_wants_no_wait_gets_none() -> None:
    made = Hold(0.0)
    made.hello(FLOW, _random(0), 9.0, may_get_secrets=True)
    made.packet(_packet(b"hello", kind=HELLO), 10.0)
    assert made.expire(10.0) == [b"hello"]


def test_after_a_secret_the_wait_is_longer(held: Hold) -> None:
    assert held.packet(_packet(b"key", kind=ANSWER), 10.0) == []
    held.secret(_secret(TLS13[0]), 10.1)
    assert held.expire(10.0 + WAIT_S) == []
    assert held.timeout_s(10.0 + WAIT_S) == pytest.approx(hold.SECRETS_WAIT_S - WAIT_S)
    assert held.expire(10.0 + hold.SECRETS_WAIT_S) == [b"hello", b"key"]


def test_without_a_source_of_secrets_nothing_is_held() -> None:
    made = Hold(WAIT_S)
    assert made.hello(FLOW, _random(0), 1.0, may_get_secrets=False) == []
    assert made.take_unmarked() == [FLOW]
    assert made.packet(_packet(b"hello", kind=HELLO), 1.0) == [b"hello"]
    # The kernel may have marked the flow again after it was unmarked.
    assert made.take_unmarked() == [FLOW]


def test_a_flow_that_is_used_again_lets_the_former_connection_go(held: Hold) -> None:
    assert held.hello(FLOW, _random(1), 10.1, may_get_secrets=True) == [b"hello"]
    assert held.take_unmarked() == [], "the mark is the new connection's"
    assert held.packet(_packet(b"new", 1, kind=HELLO), 10.2) == []
    assert held.finish(10.3) == [b"new"]
    assert held.take_unmarked() == [FLOW]


def test_one_connection_on_two_flows_waits_as_one(held: Hold) -> None:
    assert held.hello(b"translated", _random(0), 10.1, may_get_secrets=True) == []
    assert held.packet(_packet(b"other", kind=HELLO), 10.1) == []
    out = held.secret(_secret("CLIENT_RANDOM"), 10.2)
    assert out[1:] == [b"hello", b"other"]
    assert sorted(held.take_unmarked()) == [FLOW, b"translated"]


def test_randoms_that_look_alike_are_kept_apart(held: Hold) -> None:
    similar = b"x" * 8 + _random(0)[8:]
    assert held.hello(b"similar", similar, 10.1, may_get_secrets=True) == []
    assert held.take_unmarked() == [b"similar"]
    secret = Secret("CLIENT_RANDOM", similar, b"s" * 32)
    assert held.secret(secret, 10.2) == []


def test_at_the_end_everything_goes_out(held: Hold) -> None:
    assert held.packet(_packet(b"more"), 10.1) == []
    assert held.finish(10.1) == [b"hello", b"more"]
    assert held.finish(10.1) == []


def test_memory_is_bounded(held: Hold, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold, "HELD_MAX", 10)
    held.hello(b"second", _random(1), 10.1, may_get_secrets=True)
    assert held.packet(_packet(b"12345", 1, kind=HELLO), 10.1) == []
    assert held.packet(_packet(b"6", 1), 10.2) == [b"hello"]
    assert held.counts().evicted == 1
    assert held.finish(10.3) == [b"12345", b"6"]


def test_connections_are_bounded(held: Hold, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold, "CONNECTIONS_MAX", 2)
    assert held.hello(b"second", _random(1), 10.1, may_get_secrets=True) == []
    assert held.hello(b"third", _random(2), 10.1, may_get_secrets=True) == [b"hello"]
    assert held.take_unmarked() == [FLOW]
    assert held.packet(_packet(b"late"), 10.2) == [b"late"]


def test_flows_of_a_connection_are_bounded(
    held: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hold, "FLOWS_MAX", 2)
    for flow in (b"second", b"third", b"second"):
        held.hello(flow, _random(0), 10.1, may_get_secrets=True)
    assert held.take_unmarked() == [b"third"]


def test_early_secrets_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold, "EARLY_MAX", 2)
    made = Hold(WAIT_S)
    for number in range(3):
        made.secret(_secret("CLIENT_RANDOM", number), 1.0)
    assert made.hello(b"0", _random(0), 2.0, may_get_secrets=True) == []
    assert made.hello(b"2", _random(2), 2.0, may_get_secrets=True) != []


NUMBERS = st.integers(0, 5)
FLOWS = st.sampled_from([b"a", b"b", b"c", b"d"])
LABELS = st.sampled_from(["CLIENT_RANDOM", "EXPORTER_SECRET", *TLS13])


class AnyOrder(RuleBasedStateMachine):
    """In any order of events: every packet comes out once, a connection's in order."""

    def __init__(self) -> None:
        super().__init__()
        self.hold = Hold(WAIT_S)
        self.now = 0.0
        self.sent: dict[int, list[bytes]] = defaultdict(list)
        self.came: dict[int, list[bytes]] = defaultdict(list)
        self.hellos: set[int] = set()
        self.marked: set[bytes] = set()

    def _take(self, out: Iterable[hold.Buffer]) -> None:
        for buffer in map(bytes, out):
            if buffer.startswith(b"packet"):
                self.came[int(buffer.split()[1])].append(buffer)
            else:
                self._check_secret(buffer)
        self.marked -= {*self.hold.take_unmarked()}

    def _check_secret(self, block: bytes) -> None:
        secret = keylog.parse_line(block[16:-4].rstrip(b"\0\n"))
        assert secret
        assert secret.client_random[0] - 1 in self.hellos

    @rule(seconds=st.floats(0, 4))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self._take(self.hold.expire(self.now))
        assert self.hold.timeout_s(self.now) != 0

    @rule(number=NUMBERS, flow=FLOWS, may_get_secrets=st.booleans())
    def hello(self, number: int, flow: bytes, may_get_secrets: bool) -> None:
        self.hellos.add(number)
        self.marked.add(flow)
        self._take(
            self.hold.hello(
                flow, _random(number), self.now, may_get_secrets=may_get_secrets
            )
        )

    @rule(number=NUMBERS, kind=st.sampled_from([*abi.HELD_KINDS]))
    def packet(self, number: int, kind: MessageKind) -> None:
        name = b"packet %d %d" % (number, len(self.sent[number]))
        self.sent[number].append(name)
        packet = _packet(name, number, kind)
        self._take(self.hold.packet(packet, self.now))

    @rule(number=NUMBERS, label=LABELS, fill=st.sampled_from([b"s", b"t"]))
    def secret(self, number: int, label: str, fill: bytes) -> None:
        self._take(self.hold.secret(_secret(label, number, fill), self.now))

    @invariant()
    def what_came_is_what_was_sent_so_far(self) -> None:
        for number, came in self.came.items():
            assert came == self.sent[number][: len(came)]

    def teardown(self) -> None:
        self._take(self.hold.finish(self.now))
        assert self.came == {n: sent for n, sent in self.sent.items() if sent}
        assert self.hold.timeout_s(self.now) is None


TestAnyOrder = AnyOrder.TestCase


@given(st.lists(st.tuples(NUMBERS, FLOWS), max_size=30))
def test_every_mark_is_given_back(hellos: list[tuple[int, bytes]]) -> None:
    made = Hold(WAIT_S)
    marked: dict[bytes, int] = {}
    for number, flow in hellos:
        made.hello(flow, _random(number), 1.0, may_get_secrets=True)
        marked[flow] = number
        made.packet(_packet(b"x", number, kind=HELLO), 1.0)
        for gone in made.take_unmarked():
            marked.pop(gone, None)
    made.expire(1.0 + hold.SECRETS_WAIT_S)
    for gone in made.take_unmarked():
        marked.pop(gone, None)
    assert marked == {}
