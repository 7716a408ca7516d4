"""Programs and libraries that were probed before: later captures probe them at once.

A program that runs for some milliseconds is over before it is found. So the files in
which sites were proven are remembered by path and identity, for captures to come, and
`tccap tls scan` (`scan`) learns them in advance. A file counts as long as it is
unchanged; its sites come from the cache of inspections, by the hash of its content.

The hash is remembered, too: reading hundreds of files at the start takes many seconds,
and the kernel attaches probes much faster if there is nothing in between. It counts
only where the kernel alone sets a file's change time. A file system that somebody else
may have made is mounted without set-user-ID programs; there, each file is read again.
"""

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tccap.errors import TccapError
from tccap.host.rootcache import RootCache
from tccap.tls import mapped
from tccap.tls.knownfiles import Content

FILES_MAX = 256
CACHE = RootCache("tls-files", at_most=FILES_MAX)
_EVERYBODY_READS, _EVERYBODY_ENTERS = 0o004, 0o001
_DIGEST = re.compile("(?:[0-9a-f]{64})?")


class _Record(NamedTuple):
    path: str
    digest: str  # empty: the file had changed just before
    content: Content


def keep(path: str, content: Content, digest: str) -> None:
    """Remember a file that was proven, unless the path leads elsewhere.

    The path of a container's file does not lead to it. ``digest`` is the hash of the
    content (`Inspector.digest`), or empty.
    """
    record = path, digest, content
    if CACHE.get(_name(path), _parse) == record:
        return
    if content.is_at(path):
        CACHE.keep(_name(path), json.dumps([path, digest, *content]).encode())


def digest(path: str, fd: int, content: Content) -> str:
    """Return the hash of an open file, if it is remembered; otherwise an empty text.

    The path has to lead to it here, too: in a user's own mount namespace, a file system
    without this rule may have the device number that another one had before.
    """
    kept = CACHE.get(_name(path), _parse)
    if kept is None or kept.content != content or Content.of(fd) != content:
        return ""
    if os.fstatvfs(fd).f_flag & os.ST_NOSUID or not content.is_at(path):
        return ""
    return kept.digest


def files(*, only_public: bool) -> Iterator[tuple[str, int]]:
    """Yield (path, descriptor) of each file that is unchanged; the caller closes it.

    Others are forgotten. ``only_public`` leaves out files that not every user can see.
    """
    for name in CACHE.names():
        kept = CACHE.get(name, _parse)
        if kept is None or (only_public and not _is_public(kept.path)):
            continue
        path, _, content = kept
        fd = mapped.open_file(path)
        if fd is not None and Content.of(fd) == content:
            yield path, fd
            continue
        CACHE.drop(name)
        if fd is not None:
            os.close(fd)


def _name(path: str) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()


def _parse(data: bytes) -> _Record:
    try:
        path, digest, *numbers = json.loads(data)
        content = Content(*map(int, numbers))
    except (ValueError, TypeError):
        raise TccapError("The record of a learned file is damaged.") from None
    is_text = isinstance(path, str) and isinstance(digest, str)
    if not is_text or "\0" in path or not _DIGEST.fullmatch(digest):
        raise TccapError("The record of a learned file is damaged.")
    return _Record(path, digest, content)


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
