"""Connections that wait for answers about processes."""

from tccap.tls.pending import Pending

A, B = b"a" * 32, b"b" * 32


def test_a_connection_is_hopeless_when_no_process_gives_secrets() -> None:
    pending = Pending()
    pending.add(A, {1, 2})
    pending.add(B, {2})
    assert pending.settle(2, may_give=False) == [B]
    assert pending
    assert pending.settle(1, may_give=False) == [A]
    assert not pending


def test_one_process_that_may_give_them_is_enough() -> None:
    pending = Pending()
    pending.add(A, {1, 2})
    assert pending.settle(1, may_give=True) == []
    assert not pending
    assert pending.settle(2, may_give=False) == []


def test_an_answer_that_nobody_waits_for_is_ignored() -> None:
    assert Pending().settle(1, may_give=False) == []
