"""The engine as it runs on processors that do not order memory accesses as x86 does."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))

from tccap.engine import engine, memoryorder


def _yes() -> bool:
    return True


if __name__ == "__main__":
    memoryorder.is_weak = _yes
    sys.exit(engine.main())
