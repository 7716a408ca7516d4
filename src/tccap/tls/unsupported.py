"""TLS libraries that tccap does not read: how they are recognised, and what to say."""

import os
import posixpath
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

from tccap.tls import inspector, libraries, mapped
from tccap.tls.knownfiles import KNOWN_MAX, Content
from tccap.tls.mapped import Mapped
from tccap.tls.sites import Inspection


class Library(NamedTuple):
    """A library, and what its users can do."""

    files: tuple[str, ...]  # how the names of its files begin
    marker: bytes  # in programs that are linked with it, also if stripped; may be empty
    reason: str
    advice: str

    @property
    def sentence(self) -> str:
        """Why a process that has the library is not decrypted, and what helps."""
        return f"{self.reason}: {self.advice}."


_NOTHING_YET = "there is no way yet, unless the program itself can write a key log"
_JAVA = Library(
    ("libjvm.so",),
    b"",
    "it runs Java, whose own TLS cannot be read",
    "let a Java agent write a key log, and name it in the option keylog-file "
    "(docs/recipes.md)",
)
_ERLANG = Library(
    ("beam.smp",), b"", "it runs Erlang, whose own TLS cannot be read", _NOTHING_YET
)
PYTHON = Library(
    ("python2", "python3", "libpython2", "libpython3", "pypy"),
    b"",
    "it runs Python, where TLS that is written in Python itself cannot be read",
    _NOTHING_YET,
)


def _library(name: str, files: str | tuple[str, ...], marker: bytes) -> Library:
    names = (files,) if isinstance(files, str) else files
    return Library(names, marker, f"it uses {name}, which cannot be read", _NOTHING_YET)


# The markers are messages, or a symbol where a library has no messages.
_LINKED = (
    _library("mbedTLS", "libmbedtls", b"=> handshake wrapup"),
    _library("wolfSSL", "libwolfssl", b"don't have enough data to complete task"),
    _library("s2n", "libs2n", b"tls/s2n_handshake_io.c"),
    _library("LibreSSL", "libtls.so", b""),
    _library("BearSSL", "libbearssl", b"br_ssl_engine_sendapp_buf"),
    _library(
        "an OpenSSL older than 1.1",
        ("libssl.so.0.9", "libssl.so.1.0", "libssl.so.10"),
        b"TLSv1 part of OpenSSL ",
    ),
    _library("the TLS of Haskell", "libHStls-", b"Network.TLS."),
)
_UNKNOWN = (
    "no TLS library that is known is in it, or it forwards for others: if it can "
    "write a key log (SSLKEYLOGFILE), name that in the option keylog-file."
)
_BY_KEYLOG = "if the program can write a key log, name that in the option keylog-file."


class Recognition:
    """Recognises libraries that are not read; looks into each file once.

    ``goes_on`` is called now and then; False ends the reading of a file.
    """

    def __init__(self, goes_on: Callable[[], bool] = lambda: True) -> None:
        self._goes_on = goes_on
        self._linked: dict[Content, Library | None] = {}

    def of(self, files: Iterable[Mapped]) -> Library | None:
        """Return the library of a process, by its files."""
        files = tuple(files)
        paths = [file.identity.path for file in files]
        return (
            named(paths)
            or next(filter(None, map(self._linked_into, files)), None)
            or _named(paths, (PYTHON,))
        )

    def _linked_into(self, file: Mapped) -> Library | None:
        fd = None if libraries.only_reads(file.identity.path) else mapped.opened(file)
        if fd is None:
            return None
        try:
            content = Content.of(fd)
            if len(self._linked) > KNOWN_MAX:
                self._linked.clear()
            if content not in self._linked:
                self._linked[content] = linked_into(fd, content.size, self._goes_on)
            return self._linked[content]
        except OSError:
            return None
        finally:
            os.close(fd)


def explained(
    answer: Inspection, fd: int, path: str, goes_on: Callable[[], bool] = lambda: True
) -> Inspection:
    """Return the finder's answer about an open file, with a refusal that says more."""
    if not answer.refusal:
        return answer
    library = None
    if not names_library(answer.refusal):
        library = named([path]) or linked_into(fd, os.fstat(fd).st_size, goes_on)
    return replace(answer, refusal=why_refused(answer.refusal, library))


def linked_into(
    fd: int, size: int, goes_on: Callable[[], bool] = lambda: True
) -> Library | None:
    """Return the library that is linked into an open file."""
    if not 0 < size <= inspector.FILE_LEN_MAX:
        return None
    by_marker = {each.marker: each for each in _LINKED if each.marker}
    marker = libraries.first_marker(fd, size, tuple(by_marker), goes_on)
    return by_marker[marker] if marker else None


def named(paths: Iterable[str]) -> Library | None:
    """Return the library that is among these files; None if none of them is known."""
    return _named(paths, (_JAVA, _ERLANG, *_LINKED))


def sentence(library: Library | None) -> str:
    """Return why a process with this library, or none, is not decrypted."""
    return library.sentence if library else _UNKNOWN


def names_library(refusal: str) -> bool:
    """Return whether a refusal says which library it is of."""
    return refusal.startswith("It uses ") or "; it " in refusal


def why_refused(refusal: str, library: Library | None) -> str:
    """Return why a file is not read, and what helps.

    ``refusal`` is the finder's, which may name a library itself; ``library`` is one
    that the finder does not know.
    """
    if names_library(refusal):
        return refusal
    found, _, what_helps = refusal.removesuffix(".").partition(": ")
    if library:
        return f"{found}; {library.sentence}"
    return refusal if what_helps else f"{found}: {_BY_KEYLOG}"


def perhaps(library: Library | None) -> str:
    """Return why a process may not be decrypted although it has a library that is."""
    if library:
        return library.sentence
    return "it forwards for others, or has a second TLS library, which is not known."


def perhaps_beside(library: str, path: str) -> str:
    """Return the same if a file has a second library that is not read."""
    return f"{library} in {path} made it, which was not understood: {_BY_KEYLOG}"


def _named(paths: Iterable[str], among: tuple[Library, ...]) -> Library | None:
    names = {posixpath.basename(path) for path in paths}
    return next(
        (each for each in among if any(n.startswith(each.files) for n in names)), None
    )
