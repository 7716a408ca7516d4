"""Whose TLS secrets are read, and the reasons for reading none."""

import os
from dataclasses import replace

import pytest

from tccap.bpf import btf, features
from tccap.front import options, request
from tccap.host import ownership, proc
from tccap.host.access import ALL, OWN, Caller
from tccap.ipc.plan import Plan
from tccap.stream.programoptions import Option
from tccap.tls import choice
from tccap.tls.choice import TlsChoice

PLAN = replace(request.plan("tccap-lo", "", options.Options()), tls="own")
ROOT = Caller(0, 0, ALL, ALL, own=0)
MEMBER = Caller(1000, 100, OWN, OWN, own=1000)


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    made: list[str] = []
    monkeypatch.setattr(choice, "log", lambda _level, message: made.append(message))
    monkeypatch.setattr(features, "has_btf", lambda: True)
    monkeypatch.setattr(btf, "knows_dumpable", lambda: True)
    monkeypatch.setattr(ownership, "is_only_roots", lambda: False)
    return made


def test_a_members_probes_follow_the_rule_of_ptrace() -> None:
    numbers = TlsChoice(PLAN, MEMBER).code.patches.numbers
    assert numbers[Option.TLS_PTRACE_RULE] == 1
    assert (numbers[Option.TLS_USER], numbers[Option.TLS_GROUP]) == (1000, 100)
    assert numbers[Option.TLS_USER_NAMESPACE] == ownership.user_namespace()


def test_quic_needs_a_package(
    logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert TlsChoice(PLAN, ROOT).code.patches.numbers[Option.QUIC] == 1
    assert logged == []
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    numbers = TlsChoice(PLAN, ROOT).code.patches.numbers
    assert (numbers[Option.TLS], numbers[Option.QUIC]) == (1, 0)
    assert "cryptography" in logged[0]


def test_for_root_the_user_ids_count() -> None:
    assert TlsChoice(PLAN, ROOT).code.patches.numbers[Option.TLS_PTRACE_RULE] == 0


@pytest.mark.parametrize(
    ("changed", "value", "why"),
    [
        ((ownership, "is_only_roots"), True, "only root may trace"),
        ((btf, "knows_dumpable"), False, "dumpable"),
    ],
)
def test_a_member_gets_none_where_the_rule_does_not_allow_it(
    monkeypatch: pytest.MonkeyPatch,
    logged: list[str],
    changed: tuple[object, str],
    value: bool,
    why: str,
) -> None:
    monkeypatch.setattr(*changed, lambda: value)
    assert TlsChoice(PLAN, ROOT).sets_probes
    assert logged == []
    assert not TlsChoice(PLAN, MEMBER).sets_probes
    [message] = logged
    assert message.startswith("TLS secrets are not read: ")
    assert why in message


def surely_traced(plan: Plan) -> list[bool]:
    """Return what is known of this process, and of one that is not chosen."""
    ours, first = os.getpid(), 1
    return [TlsChoice(plan, ROOT)._surely_traces(pid) for pid in (ours, first)]


def test_what_a_process_filter_leaves_out_is_not_traced() -> None:
    assert surely_traced(PLAN) == [True, True]
    assert surely_traced(replace(PLAN, pids=(os.getpid(),))) == [True, False]
    assert surely_traced(replace(PLAN, uids=(os.geteuid(),)))[0]
    assert surely_traced(replace(PLAN, uids=(os.geteuid() + 1,)))[0] is False
    assert surely_traced(replace(PLAN, comms=(proc.comm(os.getpid()),)))[0]


def test_the_kernel_alone_knows_who_is_in_a_chosen_container() -> None:
    assert surely_traced(replace(PLAN, containers=("web",))) == [False, False]
