"""What the engine adds to the kernel's record of a process."""

from types import SimpleNamespace
from typing import Any

import pytest

from tccap.owners import processes
from tccap.stream.abi import ProcessMessage

KEY = (5, 7, 0)


class Records(dict[tuple[int, ...], Any]):
    """The map of processes."""

    @staticmethod
    def Key(*parts: int) -> tuple[int, ...]:  # noqa: N802  # as a Map has it
        return parts


@pytest.mark.parametrize(
    ("seen", "left"),
    [
        (3, [SimpleNamespace(version=3, block_number=10)]),
        # The kernel has written again, and sent another message.
        (2, [SimpleNamespace(version=3, block_number=0)]),
        # The engine has put back what was there before.
        (4, []),
    ],
    ids=["as it was seen", "newer", "older"],
)
def test_a_write_by_the_kernel_in_between_is_not_lost(
    seen: int, left: list[SimpleNamespace]
) -> None:
    records: Any = Records({KEY: SimpleNamespace(version=3, block_number=0)})
    processes.complete(records, ProcessMessage(5, 7, 0, seen, b"name"), 9, b"")
    assert [*records.values()] == left
