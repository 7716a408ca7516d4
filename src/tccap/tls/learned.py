"""Programs and libraries that were probed before: later captures probe them at once.

A program that runs for some milliseconds is over before it is found. So the files in
which sites were proven are remembered by path and identity, for captures to come, and
`tccap tls scan` (`scan`) learns them in advance. A file counts as long as it is
unchanged; its sites come from the cache of inspections, by its content.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from tccap.errors import TccapError
from tccap.host.rootcache import RootCache
from tccap.tls import mapped
from tccap.tls.knownfiles import Content

FILES_MAX = 256
CACHE = RootCache("tls-files", at_most=FILES_MAX)
_EVERYBODY_READS, _EVERYBODY_ENTERS = 0o004, 0o001


def keep(path: str, content: Content) -> None:
    """Remember a file that was proven, unless the path leads elsewhere.

    The path of a container's file does not lead to it.
    """
    fd = mapped.open_file(path)
    if fd is None:
        return
    try:
        leads_there = Content.of(fd)[:2] == content[:2]
    finally:
        os.close(fd)
    if leads_there:
        data = json.dumps([path, *content]).encode()
        CACHE.keep(hashlib.sha256(os.fsencode(path)).hexdigest(), data)


def files(*, only_public: bool) -> Iterator[tuple[str, int]]:
    """Yield (path, descriptor) of each file that is unchanged; the caller closes it.

    Others are forgotten. ``only_public`` leaves out files that not every user can see.
    """
    for name in CACHE.names():
        kept = CACHE.get(name, _parse)
        if kept is None or (only_public and not _is_public(kept[0])):
            continue
        path, content = kept
        fd = mapped.open_file(path)
        if fd is not None and Content.of(fd) == content:
            yield path, fd
            continue
        CACHE.drop(name)
        if fd is not None:
            os.close(fd)


def _parse(data: bytes) -> tuple[str, Content]:
    try:
        path, *numbers = json.loads(data)
        content = Content(*map(int, numbers))
    except (ValueError, TypeError):
        raise TccapError("The record of a learned file is damaged.") from None
    if not isinstance(path, str) or "\0" in path:
        raise TccapError("The record of a learned file is damaged.")
    return path, content


def _is_public(path: str) -> bool:
    """Return whether every user can see a file and read it."""
    try:
        file = Path(path).lstat()
        folders = [parent.stat() for parent in Path(path).parents]
    except OSError:
        return False
    if not stat.S_ISREG(file.st_mode) or not file.st_mode & _EVERYBODY_READS:
        return False
    return all(folder.st_mode & _EVERYBODY_ENTERS for folder in folders)
