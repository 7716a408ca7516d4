"""TLS libraries that tccap does not read, by their files, and what to say of them."""

import posixpath
from collections.abc import Iterable
from typing import NamedTuple


class Library(NamedTuple):
    """A library, and what its users can do."""

    name: str
    file: str  # how the names of its files begin
    advice: str


_NOTHING_YET = "there is no way yet, unless the program itself can write a key log"
LIBRARIES = (
    Library(
        "Java's TLS",
        "libjvm.so",
        "write a key log with a Java agent, and name it in the option keylog-file",
    ),
    Library("mbedTLS", "libmbedtls.so", _NOTHING_YET),
    Library("wolfSSL", "libwolfssl.so", _NOTHING_YET),
    Library("s2n", "libs2n.so", _NOTHING_YET),
    Library("LibreSSL", "libtls.so", _NOTHING_YET),
    Library("BearSSL", "libbearssl.so", _NOTHING_YET),
)


def found(paths: Iterable[str]) -> Library | None:
    """Return the library that is among these files; None if none of them is known."""
    names = {posixpath.basename(path) for path in paths}
    return next(
        (each for each in LIBRARIES if any(n.startswith(each.file) for n in names)),
        None,
    )


def sentence(paths: Iterable[str]) -> str:
    """Return why a process with these files is not decrypted, and what helps."""
    library = found(paths)
    if library:
        return f"it uses {library.name}, which cannot be read: {library.advice}."
    return (
        "no TLS library that is known is in it, or it forwards for others: if it can "
        "write a key log (SSLKEYLOGFILE), name that in the option keylog-file."
    )
