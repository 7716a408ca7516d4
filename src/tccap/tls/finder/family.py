"""Name and version of a library: for people only, nothing depends on them."""

import re

from tccap.tls.finder import search
from tccap.tls.finder.elf import ADDRESS_LIMIT
from tccap.tls.finder.image import Image
from tccap.tls.sites import SEPARATOR

_VERSIONS = {
    "OpenSSL": re.compile(rb"(OpenSSL \d+\.\d+\.\d+[a-z]*|OPENSSL_\d+[._]\d+[._]\d+)"),
    "Go": re.compile(rb"(go1\.\d+(?:\.\d+)?)[^0-9.]"),
    "NSS": re.compile(rb"Version: (NSS \d+\.\d+(?:\.\d+)?)"),
    "rustls": re.compile(rb"/(rustls-\d+\.\d+\.\d+)/"),
    "GnuTLS": re.compile(rb"(GnuTLS \d+\.\d+\.\d+)"),
}
# BoringSSL has "OpenSSL 1.1.1 (compatible; BoringSSL)"; OpenSSL has a date there.
_BORINGSSL = (b"BoringSSL", b"boringssl")
_RUSTLS = (b"rustls-", b"rustls/src")
# Functions of other files that a handshake needs.
_HANDSHAKES = {b"SSL_new": "OpenSSL", b"gnutls_handshake": "GnuTLS"}
_OPENSSL = re.compile(rb"OpenSSL \d+\.\d+\.\d+[a-z]* +\d+ [A-Z]")


def of_lines(image: Image) -> str:
    """Return "OpenSSL" or "BoringSSL": both hand out finished lines."""
    data = image.elf.data
    is_boring = any(search.find(data, _BORINGSSL))
    return (
        "BoringSSL"
        if is_boring and not search.first_match(data, _OPENSSL)
        else "OpenSSL"
    )


def is_rustls(image: Image) -> bool:
    """Return whether a file names the sources of rustls, as its panics do."""
    return any(search.find(image.elf.data, _RUSTLS))


def version(image: Image, library: str) -> str:
    """Return the (first) library's version string in the file; empty if it has none."""
    pattern = _VERSIONS.get(library.partition(SEPARATOR)[0])
    found = search.first_match(image.elf.data, pattern) if pattern else None
    return found[1].decode() if found else ""


def with_used(image: Image, refusal: str) -> str:
    """Return why labels are not understood, and whose TLS the file uses besides.

    Programs have labels in their messages, or two libraries; then this one is likely
    not the one that counts.
    """
    used = sorted(
        _HANDSHAKES[each.name]
        for each in image.relocations.imports(0, ADDRESS_LIMIT)
        if each.name in _HANDSHAKES and not each.own
    )
    if not used:
        return f"{refusal}."
    return (
        f"{refusal}, and uses the {used[0]} of another file: if connections get no "
        "secrets, and the program can write a key log, name that in the option "
        "keylog-file."
    )
