"""The engine: the privileged half, from the kernel to the stream.

It reads one Plan from stdin, writes pcapng to stdout and tells its state on
stderr (status.py). It ends when stdin is closed, when nobody reads the stream
any more, or when the captured device is gone; whatever happens, it takes its
classifiers out of the kernel. Without any Plan it removes what engines that were
killed have left there, and ends.

Start-up is what a user waits for, so the two slow steps run side by side: the
compiler in a thread, and the import of pyroute2 here.
"""

import os
import signal
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tccap.engine import limits, privileges
from tccap.errors import TccapError
from tccap.filter.capturefilter import CaptureFilter
from tccap.host import access, netdev
from tccap.host.access import Caller
from tccap.ipc.plan import Plan
from tccap.ipc.status import log, report
from tccap.stream import linktypes
from tccap.stream.linktypes import LinkType
from tccap.tls.session import Tls

if TYPE_CHECKING:
    from tccap.bpf.collection import Kernel
    from tccap.owners.attribution import Attribution

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
        text = _read_plan()
        if text:
            _run(Plan.from_json(text), caller)
        else:
            sweep()
    except TccapError as error:
        report("error", message=str(error))
        return 1
    except OSError as error:
        log("debug", traceback.format_exc())
        report("error", message=f"The kernel refuses tccap something: {error}.")
        return 1
    except Exception as error:  # noqa: BLE001  # people get a sentence all the same
        log("debug", traceback.format_exc())
        report("error", message=f"tccap failed: {error!r}; the log says where.")
        return 1
    return 0


def sweep() -> int:
    """Remove what engines that were killed have left in the kernel."""
    from tccap.attach import clsact  # noqa: PLC0415  # slow, and no other call needs it

    clsact.sweep()
    return 0


def _run(plan: Plan, caller: Caller) -> None:
    # Before there are threads: libpcap runs in a child process.
    capture_filter = CaptureFilter(plan.filters, _link_types(plan))
    tls = Tls(plan, caller)
    with ThreadPoolExecutor(1) as pool:
        programs = pool.submit(_prepare, plan, caller, tls, capture_filter)
        pool.shutdown(wait=False)  # its thread ends with its work
        started = time.monotonic()
        from tccap.engine.capture import Capture  # noqa: PLC0415  # see above

        report("timing", step="import", seconds=time.monotonic() - started)
        Capture(plan, tls, PLAN_FD, STREAM_FD).run(programs)


def _link_types(plan: Plan) -> tuple[LinkType, ...]:
    """Return the link types that the capture can meet."""
    if plan.is_any:
        return (linktypes.ETHERNET, linktypes.RAW_IP)
    link = linktypes.of_hardware_type(netdev.hardware_type(plan.device) or -1)
    return (link or linktypes.ETHERNET,)


def _prepare(
    plan: Plan, caller: Caller, tls: Tls, capture_filter: CaptureFilter
) -> "tuple[Kernel, Attribution]":
    started = time.monotonic()
    from tccap.engine import programs  # noqa: PLC0415  # see above

    report("timing", step="import programs", seconds=time.monotonic() - started)
    started = time.monotonic()
    prepared = programs.prepare(plan, caller, tls, capture_filter)
    report("timing", step="compile", seconds=time.monotonic() - started)
    return prepared


def _read_plan() -> str:
    """Return the first line of stdin, empty if there is nothing at all.

    What follows stays there: lines of a key log, and its end, which means: stop.
    """
    text = bytearray()
    while not text.endswith(b"\n"):
        more = os.read(PLAN_FD, 1)
        text += more
        if not text:
            break
        if not more or len(text) > PLAN_LEN_MAX:
            raise TccapError("The engine got no plan: it is started by the extcap.")
    return text.decode(errors="replace")
