"""Learning programs in advance: `tccap tls scan` examines all files of folders."""

import concurrent.futures
import os
from collections.abc import Iterator
from pathlib import Path

from tccap.tls import inspector, learned, libraries, mapped
from tccap.tls.knownfiles import Content
from tccap.tls.sites import Inspection

FOLDERS = ("/usr/bin", "/usr/sbin", "/usr/libexec", "/usr/local", "/opt")
AT_ONCE = 2  # inspections, each a process with a few hundred MiB
_ELF = b"\x7fELF"


def scan(folders: list[str]) -> Iterator[tuple[str, Inspection]]:
    """Examine all programs in folders; yield those that may hold a TLS library.

    Files in which sites are proven are learned. Links are not followed.
    """
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for path, answer in pool.map(_examined, _files(folders)):
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


def _examined(path: str) -> tuple[str, Inspection | None]:
    if Path(path).is_symlink() or libraries.only_reads(path):
        return path, None
    fd = mapped.open_file(path)
    if fd is None:
        return path, None
    try:
        return path, _inspected(path, fd)
    finally:
        os.close(fd)


def _inspected(path: str, fd: int) -> Inspection | None:
    content = Content.of(fd)
    if os.pread(fd, len(_ELF), 0) != _ELF or content.size > inspector.FILE_LEN_MAX:
        return None
    if not libraries.has_marker(fd, content.size, lambda: True):
        return None
    answer = inspector.inspect(fd)
    if answer.sites:
        learned.keep(path, content)
    return answer
