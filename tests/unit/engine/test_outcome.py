"""What a failure becomes: a sentence."""

import errno
import os

import pytest

from tccap.engine import outcome
from tccap.errors import TccapError
from tccap.ipc.channel import ClosedError


def reason(error: Exception) -> list[str]:
    """Return the reasons that a turn gives which raises an error."""
    reasons: list[str] = []

    def turn() -> None:
        raise error

    outcome.guarded(turn, reasons.append)
    return reasons


def test_what_the_machine_refuses_in_a_turn_is_a_reason() -> None:
    refused = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert reason(refused) == ["The capture ended: No space left on device."]
    assert reason(TccapError("A sentence.")) == ["A sentence."]


def test_the_end_of_the_other_process_is_none() -> None:
    with pytest.raises(ClosedError):
        reason(ClosedError())


def test_a_turn_that_works_has_no_reason() -> None:
    reasons: list[str] = []
    turns: list[int] = []
    outcome.guarded(lambda: turns.append(1), reasons.append)
    assert (turns, reasons) == ([1], [])
