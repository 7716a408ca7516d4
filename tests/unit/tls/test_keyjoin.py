"""Labels and values of keys, joined by their handles."""

import pytest

from tccap.tls.keyjoin import REMEMBERED_S, VALUES_MAX, KeyJoin

LABEL = b"CLIENT_TRAFFIC_SECRET_0"
RANDOM, VALUE, OTHER = b"r" * 32, b"v" * 48, b"w" * 48
CKA_VALUE = b"\x11"
PID, NOW = 7, 1000.0


def handle(number: int) -> bytes:
    """Return the bytes from a handle on; those behind it have no meaning."""
    return number.to_bytes(8, "little") + b"more"


@pytest.fixture
def join() -> KeyJoin:
    made = KeyJoin()
    made.value(PID, CKA_VALUE, handle(1), VALUE, NOW)
    return made


def found(
    join: KeyJoin, number: int = 1, pid: int = PID, now: float = NOW
) -> bytes | None:
    secret = join.secret(pid, LABEL, RANDOM, handle(number)[:8] + b"else", now)
    return secret.secret if secret else None


def test_a_label_gets_the_value_of_its_key(join: KeyJoin) -> None:
    assert join.secret(PID, LABEL, RANDOM, handle(1), NOW) == (
        LABEL.decode(),
        RANDOM,
        VALUE,
    )


def test_a_key_may_have_several_labels(join: KeyJoin) -> None:
    assert found(join) == found(join) == VALUE


def test_another_handle_or_process_is_another_key(join: KeyJoin) -> None:
    assert found(join, number=2) is None
    assert found(join, pid=8) is None
    assert join.secret(PID, LABEL, RANDOM, b"", NOW) is None


def test_of_two_keys_with_one_handle_neither_is_used(join: KeyJoin) -> None:
    join.value(PID, CKA_VALUE, handle(1), OTHER, NOW)
    assert found(join) is None
    join.value(PID, CKA_VALUE, handle(1), OTHER, NOW)
    assert found(join) is None


def test_a_key_that_is_reported_twice_is_one(join: KeyJoin) -> None:
    join.value(PID, CKA_VALUE, handle(1), VALUE, NOW)
    assert found(join) == VALUE


def test_after_a_while_a_handle_may_mean_another_key(join: KeyJoin) -> None:
    later = NOW + REMEMBERED_S
    assert found(join, now=later) is None
    join.value(PID, CKA_VALUE, handle(1), OTHER, later)
    assert found(join, now=later) == OTHER


@pytest.mark.parametrize("attribute", [b"", b"\x11\x01", b"\x10"])
def test_another_attribute_is_no_value(attribute: bytes) -> None:
    join = KeyJoin()
    join.value(PID, attribute, handle(1), VALUE, NOW)
    assert found(join) is None


def test_an_invalid_secret_is_not_accepted() -> None:
    join = KeyJoin()
    join.value(PID, CKA_VALUE, handle(1), b"v" * 16, NOW)
    join.value(PID, CKA_VALUE, handle(2), bytes(48), NOW)
    assert found(join) is None
    assert found(join, number=2) is None


def test_values_are_limited(join: KeyJoin) -> None:
    for number in range(2, VALUES_MAX + 2):
        join.value(PID, CKA_VALUE, handle(number), VALUE, NOW)
    assert found(join) is None
    assert found(join, number=2) == VALUE
