"""Whether what the user names is there: processes, and files with TLS libraries."""

from pathlib import Path

from tccap.errors import TccapError, quoted
from tccap.front import processfilter
from tccap.ipc.plan import Plan

_ELF_MAGIC = b"\x7fELF"


def need(plan: Plan) -> None:
    """Raise TccapError if a process does not exist, or a file can have no library."""
    processfilter.need_running(plan.pids)
    for path in plan.tls_libraries:
        _need_elf(path)


def _need_elf(path: str) -> None:
    try:
        is_elf = _magic(path) == _ELF_MAGIC
    except (FileNotFoundError, NotADirectoryError):
        raise TccapError(
            f"There is no file {quoted(path)}: correct --tls-libraries."
        ) from None
    except OSError:
        return  # the engine may read more, and reports what it cannot open
    if not is_elf:
        raise TccapError(
            f"{quoted(path)} is neither a program nor a library (ELF): name the file "
            "that it starts in --tls-libraries."
        )


def _magic(path: str) -> bytes:
    """Return the first bytes of an ordinary file; of any other, none."""
    if not Path(path).is_file():
        Path(path).stat()  # for its OSError
        return b""
    with Path(path).open("rb") as file:
        return file.read(len(_ELF_MAGIC))
