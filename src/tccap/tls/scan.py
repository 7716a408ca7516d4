"""Learning programs in advance: `tccap tls scan` examines all files of folders."""

import concurrent.futures
import functools
import os
from collections.abc import Iterator
from pathlib import Path

from tccap.tls import learned, libraries, mapped
from tccap.tls.inspector import FILE_LEN_MAX, Inspector
from tccap.tls.knownfiles import Content
from tccap.tls.sites import Inspection

FOLDERS = ("/usr/bin", "/usr/sbin", "/usr/libexec", "/usr/local", "/opt")
AT_ONCE = 2  # inspections, each a process with a few hundred MiB
_ELF = b"\x7fELF"


def scan(folders: list[str]) -> Iterator[tuple[str, Inspection]]:
    """Examine all programs in folders; yield those that may hold a TLS library.

    Files in which sites are proven are learned. Links are not followed.
    """
    with (
        Inspector() as inspector,
        concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        examined = functools.partial(_examined, inspector)
        for path, answer in pool.map(examined, _files(folders)):
            if answer:
                yield path, answer


def _files(folders: list[str]) -> Iterator[str]:
    seen: set[tuple[int, int]] = set()
    for folder in folders:
        for parent, _, names in os.walk(folder):
            for name in sorted(names):
                path = Path(parent, name)
                try:
                    status = path.lstat()
                except OSError:
                    continue
                if (status.st_dev, status.st_ino) not in seen:
                    seen.add((status.st_dev, status.st_ino))
                    yield str(path)


def _examined(inspector: Inspector, path: str) -> tuple[str, Inspection | None]:
    if Path(path).is_symlink() or libraries.only_reads(path):
        return path, None
    fd = mapped.open_file(path)
    if fd is None:
        return path, None
    try:
        return path, _inspected(inspector, path, fd)
    finally:
        os.close(fd)


def _inspected(inspector: Inspector, path: str, fd: int) -> Inspection | None:
    content = Content.of(fd)
    if os.pread(fd, len(_ELF), 0) != _ELF or content.size > FILE_LEN_MAX:
        return None
    if not libraries.has_marker(fd, content.size, lambda: True):
        return None
    answer = inspector.inspect(fd)
    if answer.sites:
        learned.keep(path, content, inspector.digest(content))
    return answer
