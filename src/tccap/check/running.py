"""`tccap tls list`: which running processes can be decrypted, and which not."""

import os
from collections.abc import Iterator

from tccap.host import proc, processlist
from tccap.tls import libraries, mapped, unsupported
from tccap.tls.inspector import Inspector
from tccap.tls.mapped import Identity, Mapped
from tccap.tls.sites import Inspection

_HEADING = f"{'PID':>7} {'USER':>7} {'PROGRAM':16} TLS"


def lines() -> Iterator[str]:
    """Yield a heading, and a line for each TLS library of each process."""
    yield _HEADING
    known: dict[Identity, str] = {}
    recognition = unsupported.Recognition()
    in_network = {each.pid for each in processlist.with_network_sockets()}
    with Inspector() as inspector:
        for pid in proc.pids():
            files = list(mapped.files(pid))
            user = proc.euid(pid)
            if pid == os.getpid() or user is None:
                continue
            texts = _of_process(inspector, files, known)
            for text in texts or _unread(files, recognition):
                if pid not in in_network and text == _no(unsupported.PYTHON):
                    continue  # it may have no TLS at all
                yield f"{pid:7} {user:7} {_program(files):16} {text}"


def _of_process(
    inspector: Inspector, files: list[Mapped], known: dict[Identity, str]
) -> list[str]:
    """Return a text for each TLS library of a process."""
    for file in files:
        if file.identity not in known:
            known[file.identity] = _of_file(inspector, file)
    return [known[f.identity] for f in files if known[f.identity]]


def _unread(files: list[Mapped], recognition: unsupported.Recognition) -> list[str]:
    """Return a text for a library that is known and not read."""
    library = recognition.of(files)
    return [_no(library)] if library else []


def _no(library: unsupported.Library) -> str:
    return f"no: {library.sentence}"


def _of_file(inspector: Inspector, file: Mapped) -> str:
    """Return what can be read in a file; empty if it is no TLS library."""
    fd = None if libraries.only_reads(file.identity.path) else mapped.opened(file)
    if fd is None:
        return ""
    try:
        size = os.fstat(fd).st_size
        if not libraries.has_marker(fd, size, lambda: True):
            return ""
        path = file.identity.path
        answer = unsupported.explained(inspector.inspect(fd), fd, path)
    except OSError:
        return ""
    finally:
        os.close(fd)
    return _text(path, answer)


def _text(path: str, answer: Inspection) -> str:
    if answer.sites:
        return f"yes: {answer.library} in {path}"
    return f"no: {path}: {answer.refusal}" if answer.refusal else ""


def _program(files: list[Mapped]) -> str:
    return files[0].identity.path.rpartition("/")[2][:16] if files else ""
