"""Programs are loaded whatever else happens to the process."""

import os
import signal

import pytest

from tccap.bpf import progs
from tccap.bpf.objects import INSTRUCTION
from tccap.bpf.uapi import ProgType

# r0 = 0; do r0++ while (r0 < 100,000); return r0. The verifier walks through all of it.
LOOP = b"".join(
    INSTRUCTION.pack(code, 0, offset, value)
    for code, offset, value in (
        (0xB7, 0, 0),
        (0x07, 0, 1),
        (0xA5, -2, 100_000),
        (0x95, 0, 0),
    )
)
SOON_S = 0.005


@pytest.mark.same_everywhere
def test_a_signal_does_not_refuse_a_program() -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: came.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, SOON_S)
        os.close(progs.load(ProgType.SCHED_CLS, "loop", LOOP))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert came == [signal.SIGALRM]
