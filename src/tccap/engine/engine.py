"""The engine: the privileged half, from the kernel to the stream.

It reads one Plan from stdin, writes pcapng to stdout and reports its state on stderr
(status.py). It ends when stdin is closed, when nobody reads the stream any more, or
when the captured device is gone; in every case it takes its classifiers out of the
kernel. Without a Plan it removes what engines that were killed have left there, and
ends.

A user waits for the start, so the two slow steps run side by side: the compiler in a
thread, and the import of pyroute2 here. That is why some modules are imported in
functions.
"""

import os
import signal
import time
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tccap.engine import limits, parts, privileges, slots
from tccap.engine.background import Background
from tccap.engine.parts import Choice
from tccap.errors import TccapError
from tccap.host import access
from tccap.host.access import Caller
from tccap.ipc.plan import Plan
from tccap.ipc.status import Error, Timing, log, report

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
    try:
        limits.reset()
        privileges.narrow(privileges.STARTING)
        caller = access.caller()
        slots.take(caller)
        text = _read_plan()
        if text:
            privileges.need()
            _run(Plan.from_json(text), caller)
        else:
            sweep()
    except TccapError as error:
        report(Error(str(error)))
        return 1
    except OSError as error:
        log("debug", traceback.format_exc())
        report(Error(f"The kernel refuses tccap something: {error}."))
        return 1
    except Exception as error:  # noqa: BLE001  # people get a sentence in any case
        log("debug", traceback.format_exc())
        report(Error(f"tccap failed: {error!r}; the log says where."))
        return 1
    return 0


def sweep() -> int:
    """Remove what killed engines have left in the kernel."""
    from tccap.attach import clsact

    clsact.sweep()
    return 0


def _run(plan: Plan, caller: Caller) -> None:
    choices = parts.choose(plan, caller)
    programs = Background(lambda: _prepare(plan, choices))
    started = time.monotonic()
    from tccap.engine import capture

    report(Timing("import", time.monotonic() - started))
    capture.run(plan, choices, programs, PLAN_FD, STREAM_FD)


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
