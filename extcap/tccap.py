#!/usr/bin/python3 -IS
"""What Wireshark runs: finds the package beside this file and calls it.

-I and -S keep the user's environment and site packages out: the short calls
need neither, and start faster. The engine is started with what it needs.
"""

# First of all: until the front or the engine handles it, a Ctrl-C ends us as it
# ends other programs, without Python's traceback. `signal` itself would first take
# milliseconds to import, in which a Ctrl-C is still a traceback.
import _signal

if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

import os
import sys

src = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "src")
if sys.flags.safe_path:
    sys.path.insert(0, src)
else:
    sys.path[0] = src  # else `import tccap` finds this file

from tccap.main import main

sys.exit(main())
