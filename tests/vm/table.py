"""The table of kernels, read from kernels.toml."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from vm.errors import VmError

TABLE = Path(__file__).with_name("kernels.toml")


@dataclass(frozen=True)
class Kernel:
    """One entry of the table; kernels.toml explains the fields."""

    name: str
    suites: tuple[str, ...]
    deadline_s: int
    or_newer: bool = False
    users: bool = False
    between: bool = False

    def is_of_series(self, release: str) -> bool:
        """Return whether a release such as 6.1.0-56-amd64 belongs to this series."""
        return release.startswith(self.name + ".")


def kernels(names: list[str]) -> list[Kernel]:
    """Return the kernels of these names, or all when no name is given."""
    known = {kernel.name: kernel for kernel in _read(TABLE)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise VmError(
            f"There is no kernel {unknown[0]} in {TABLE.name}; "
            f"it has {', '.join(known)}."
        )
    return [known[name] for name in names or known]


def _read(path: Path) -> list[Kernel]:
    entries = tomllib.loads(path.read_text())["kernel"]
    return [Kernel(**{**entry, "suites": tuple(entry["suites"])}) for entry in entries]
