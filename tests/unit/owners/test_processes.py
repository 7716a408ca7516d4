"""What the engine adds to the kernel's record of a process."""

from types import SimpleNamespace
from typing import Any

from tccap.owners import processes
from tccap.stream.abi import ProcessMessage


class Written(dict[tuple[int, ...], Any]):
    """A map, whose keys and values are tuples."""

    @staticmethod
    def Key(*parts: int) -> tuple[int, ...]:  # noqa: N802  # as a Map has it
        return parts

    @staticmethod
    def Leaf(*parts: Any) -> tuple[Any, ...]:  # noqa: N802
        return parts


def test_the_kernels_own_record_is_not_written() -> None:
    """Programs may note a fork or an exit in it at any time."""
    tables = {"completions": Written()}
    collection: Any = SimpleNamespace(
        table=tables.__getitem__, invalidate_lookups=lambda: None
    )
    seen = ProcessMessage(5, 7, 0, 3, b"name")
    processes.complete(collection, seen, 9, b"pid=7")
    assert tables["completions"] == {(5, 7, 0): (3, 0, b"name", 10, 5, b"pid=7")}
