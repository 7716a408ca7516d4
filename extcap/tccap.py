#!/usr/bin/python3 -IS
"""What Wireshark runs: finds the package beside this file and calls it.

-I and -S keep the user's environment and site packages out: the short calls
need neither, and start faster. The engine is started with what it needs.
"""

import os
import sys

src = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "src")
if sys.flags.safe_path:
    sys.path.insert(0, src)
else:
    sys.path[0] = src  # else `import tccap` finds this file

from tccap.main import main  # noqa: E402

sys.exit(main())
