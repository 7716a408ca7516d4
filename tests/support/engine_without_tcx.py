"""The engine as it runs on a kernel that has no TCX (before 6.6)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))

from tccap.attach import tcx
from tccap.engine import engine


def _no(program_fd: int) -> bool:
    return program_fd < 0


if __name__ == "__main__":
    tcx.is_supported = _no
    sys.exit(engine.main())
