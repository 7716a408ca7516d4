"""The engine as it runs on a kernel that has no TCX (before 6.6)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))

from tccap import engine, tcx

tcx.is_supported = lambda _fd: False

if __name__ == "__main__":
    sys.exit(engine.main())
