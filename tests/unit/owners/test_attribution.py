"""What the engine adds to the kernel's record of a process."""

from types import SimpleNamespace
from typing import Any

import pytest

from tccap.owners.attribution import Attribution
from tccap.stream.abi import ProcessMessage

KEY = (5, 7, 0)


class Records(dict[tuple[int, ...], Any]):
    """The map of processes."""

    @staticmethod
    def Key(*parts: int) -> tuple[int, ...]:  # noqa: N802  # as a Map has it
        return parts


@pytest.mark.parametrize(
    ("told", "left"),
    [
        (3, [SimpleNamespace(version=3, block_number=10)]),
        # The kernel has written again, and told so.
        (2, [SimpleNamespace(version=3, block_number=0)]),
        # The engine has put back what was there before.
        (4, []),
    ],
    ids=["as it was told", "newer", "older"],
)
def test_what_the_kernel_wrote_meanwhile_is_not_lost(
    told: int, left: list[SimpleNamespace]
) -> None:
    attribution = Attribution.__new__(Attribution)
    records = Records({KEY: SimpleNamespace(version=3, block_number=0)})
    attribution._processes = records  # type: ignore[assignment]
    attribution._complete(ProcessMessage(5, 7, 0, told, b"name"), 9, b"")
    assert [*records.values()] == left
