"""On which processors a block could be passed on before it is written."""

import pytest

from tccap.engine.memoryorder import refuse_weak_order
from tccap.errors import TccapError


def test_x86_is_taken() -> None:
    refuse_weak_order("x86_64")


@pytest.mark.parametrize("machine", ["aarch64", "riscv64", "ppc64le"])
def test_others_are_refused_with_a_sentence(machine: str) -> None:
    with pytest.raises(TccapError, match=f"cannot capture on {machine} yet: "):
        refuse_weak_order(machine)
