"""How a process of the engine ends: people get a sentence in any case."""

import traceback
from collections.abc import Callable

from tccap.errors import TccapError
from tccap.ipc.status import Error, log, report


def status_of(work: Callable[[], int]) -> int:
    """Do the work and return its exit status; 1 if it fails, which is reported."""
    try:
        return work()
    except TccapError as error:
        report(Error(str(error)))
    except OSError as error:
        log("debug", traceback.format_exc())
        report(Error(f"The kernel refuses tccap something: {error}."))
    except Exception as error:  # noqa: BLE001  # as above
        log("debug", traceback.format_exc())
        report(Error(f"tccap failed: {error!r}; the log says where."))
    return 1


def guarded(turn: Callable[[], None], fail: Callable[[str], None]) -> None:
    """Run one turn of a capture's loop; if it fails, call ``fail`` with the reason.

    The capture then stops in order: the reader still gets all that was captured.
    """
    try:
        turn()
    except OSError as error:
        fail(f"The capture ended: {error.strerror}.")
    except TccapError as error:
        fail(str(error))
