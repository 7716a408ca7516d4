"""The engine: the privileged half, from the kernel to the stream.

It reads one Plan from stdin, has a child write pcapng to stdout (carrying.py) and
reports its state on stderr (status.py). It ends when stdin is closed, when nobody reads
the stream any more, or when the captured device is gone; in every case it takes its
classifiers out of the kernel. Without a Plan it removes what engines that were killed
have left there, and ends.

A user waits for the start, so the programs are prepared in a thread, beside the import
of the rest. That is why some modules are imported in functions.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tccap.engine import control, limits, outcome, parts, privileges, slots
from tccap.engine.background import Background
from tccap.engine.parts import Choice
from tccap.errors import TccapError
from tccap.host import access
from tccap.host.access import Caller
from tccap.ipc.plan import Plan
from tccap.ipc.status import Timing, report

if TYPE_CHECKING:
    from tccap.bpf.collection import Collection

PLAN_LEN_MAX = 1 << 20
PLAN_FD = 0
STREAM_FD = 1


def main() -> int:
    """Capture as the Plan on stdin says; return the exit status."""
    # The front decides when to stop; a Ctrl-C reaches its whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # not the caller's
    status = outcome.status_of(_main)
    if threading.active_count() > 1:
        # Python would end the others by pthread_exit(3), which opens libgcc: without
        # descriptors it aborts.
        sys.stderr.flush()
        os._exit(status)
    return status


def _main() -> int:
    limits.reset()
    privileges.narrow(privileges.STARTING)
    caller = access.caller()
    slots.take(caller)
    text = _read_plan()
    if not text:
        return sweep()
    privileges.need()
    return _run(Plan.from_json(text), caller)


def sweep() -> int:
    """Remove what killed engines have left in the kernel."""
    from tccap.attach import clsact

    clsact.sweep()
    return 0


def _run(plan: Plan, caller: Caller) -> int:
    with control.ending_in_time(PLAN_FD):
        choices = parts.choose(plan, caller)
    programs = Background(lambda: _prepare(plan, choices))
    started = time.monotonic()
    from tccap.engine import capture

    report(Timing("import", time.monotonic() - started))
    return capture.run(plan, choices, programs, PLAN_FD, STREAM_FD)


def _prepare(plan: Plan, choices: Sequence[Choice]) -> "Collection":
    started = time.monotonic()
    from tccap.engine import programs

    report(Timing("import programs", time.monotonic() - started))
    started = time.monotonic()
    prepared = programs.prepare(plan, choices)
    report(Timing("compile", time.monotonic() - started))
    return prepared


def _read_plan() -> str:
    """Return the first line of stdin, empty if there is nothing at all.

    The rest stays there: lines of a key log, and the end of stdin, which means: stop.
    """
    text = bytearray()
    while not text.endswith(b"\n"):
        more = os.read(PLAN_FD, 1)
        text += more
        if not text:
            break
        if not more or len(text) > PLAN_LEN_MAX:
            raise TccapError(
                "This program is not run by hand: use tshark or tccap -i any -w FILE."
            )
    return text.decode(errors="replace")
