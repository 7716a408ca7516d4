"""Scheduling policies around the use of maps."""

import os
from collections.abc import Iterator

import pytest

from tccap.host import cpus

Policy = tuple[int, int]


def policy() -> Policy:
    return os.sched_getscheduler(0), os.sched_getparam(0).sched_priority


def may_be_realtime() -> bool:
    child = os.fork()
    if child == 0:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


needs_right = pytest.mark.skipif(not may_be_realtime(), reason="needs CAP_SYS_NICE")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    yield
    os.sched_setscheduler(0, before, parameters)


@needs_right
@pytest.mark.parametrize(
    ("chosen", "inside"),
    [
        ((os.SCHED_OTHER, 0), (os.SCHED_FIFO, 1)),
        ((os.SCHED_BATCH, 0), (os.SCHED_FIFO, 1)),
        ((os.SCHED_IDLE, 0), (os.SCHED_FIFO, 1)),
        ((os.SCHED_BATCH | os.SCHED_RESET_ON_FORK, 0), (os.SCHED_FIFO, 1)),
        ((os.SCHED_RR, 5), (os.SCHED_RR, 5)),
        ((os.SCHED_FIFO, 7), (os.SCHED_FIFO, 7)),
    ],
)
def test_the_callers_policy_comes_back(chosen: Policy, inside: Policy) -> None:
    os.sched_setscheduler(0, chosen[0], os.sched_param(chosen[1]))
    with cpus.not_preempted():
        assert policy() == inside
    assert policy() == chosen


def test_an_error_restores_it_too() -> None:
    before = policy()
    with pytest.raises(KeyError), cpus.not_preempted():
        raise KeyError
    assert policy() == before
