"""The log file that a user asks for, and errors in it."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from dataclasses import asdict

from tccap.errors import TccapError
from tccap.ipc import status
from tccap.ipc.status import (
    End,
    Error,
    Event,
    Log,
    Lost,
    Output,
    Ready,
    TlsCounts,
    TlsReady,
)
from tccap.ipc.values import Level

LEVELS: dict[Level, int] = {
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
}
LOG = logging.getLogger("tccap")


class _LogFile(logging.FileHandler):
    """Ends the log, with a sentence, when it cannot be written any more."""

    def handleError(self, _record: logging.LogRecord) -> None:  # noqa: N802
        """Replace the traceback of each line that `logging` would print."""
        logging.disable()
        error = sys.exc_info()[1]
        reason = error.strerror if isinstance(error, OSError) else error
        path = self.baseFilename
        print(f"The log file {path} ends here: {reason}.", file=sys.stderr)  # noqa: T201


def start(path: str, level: Level) -> None:
    """Write the log into a file from now on; an empty path means: no log."""
    if not path:
        logging.disable()
        return
    try:
        logging.basicConfig(
            handlers=[_LogFile(path)],
            level=LEVELS[level],
            format="%(asctime)s %(levelname)s %(message)s",
        )
    except OSError as error:
        raise TccapError(
            f"The log file {path} cannot be written: {error.strerror}."
        ) from None


@contextlib.contextmanager
def errors_logged() -> Iterator[None]:
    """Log the error that ends a capture, wherever it arises."""
    try:
        yield
    except TccapError as error:
        LOG.error("%s", error)  # noqa: TRY400  # a sentence, without its traceback
        raise


def record(event: Event | Output) -> None:
    """Log what the engine reports: sentences, and at the level debug all of it."""
    match event:
        case Output(text):
            LOG.debug("output %s", text)
        case Log(level, message):
            LOG.log(LEVELS[level], "%s", message)
        case Error():  # ends the capture, which `errors_logged` logs
            return
        case _:
            LOG.debug("%s %s", status.name(event), asdict(event))
            if text := _sentence(event):
                LOG.info("%s", text)


def _sentence(event: Event) -> str:
    """Return an event as a sentence for people; empty: it is for developers."""
    match event:
        case Ready():
            return "Packets are captured from now on."
        case Lost(packets):
            return f"{packets} packets were lost so far: the reader is too slow."
        case End():
            return " ".join(_end(event))
        case TlsReady():
            return "TLS: all running programs have been searched."
        case TlsCounts(counts):
            found, of_all = counts.get("with_secrets", 0), counts.get("connections", 0)
            return f"TLS: the secrets of {found} of {of_all} connections were found."
    return ""


def _end(end: End) -> Iterator[str]:
    """Yield sentences: what became of the packets."""
    yield f"{end.accepted} of {end.received} packets matched the filters;"
    yield f"{end.dropped + end.undelivered} of these were lost."
    if end.unattributed:
        yield f"{end.unattributed} were left out as their process is not known."
    if end.overflowed_sockets:
        yield f"{end.overflowed_sockets} sockets were too many: raise sockets."
    if end.unrecorded_sockets:
        yield (
            f"{end.unrecorded_sockets} times the kernel had no memory to record who "
            "uses a socket, whose packets may have no process."
        )
    if end.overflowed_processes:
        yield f"{end.overflowed_processes} packets have no process: raise processes."
