"""The log file that a user asks for, and errors in it."""

import contextlib
import logging
from collections.abc import Iterator

from tccap.errors import TccapError
from tccap.ipc.values import Level

LEVELS: dict[Level, int] = {
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
}
LOG = logging.getLogger("tccap")


def start(path: str, level: Level) -> None:
    """Write the log into a file from now on; an empty path means: no log."""
    if not path:
        logging.disable()
        return
    try:
        logging.basicConfig(
            filename=path,
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
