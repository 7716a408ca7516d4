"""Where a library logs its secrets: at its log function, or at jumps over its calls.

The function is proven among those that get labels (`oracle`, `gnutls`). It is probed at
its entry if it tests for the callback itself; if its callers do, their jumps are
(`callback_check`), also if the compiler has merged it into them.
"""

from dataclasses import dataclass

from tccap.tls.finder import (
    callback_check,
    family,
    flow,
    gnutls,
    oracle,
    probeable,
)
from tccap.tls.finder.code import Decoder
from tccap.tls.finder.errors import RefusedError
from tccap.tls.finder.guardedcall import LogFunction
from tccap.tls.finder.image import Image
from tccap.tls.sites import LABELS, Site

LABELS_MIN = 3  # fewer labels in one place are not the key log of a TLS library
_NEEDED = frozenset((LABELS[0], *LABELS[2:6]))  # to decrypt TLS 1.2 and 1.3
_CANDIDATES_MAX = 4
_LABEL = 1  # the callback's argument, in GnuTLS


@dataclass(frozen=True)
class KeyLog:
    """A library's sites; if ``is_checked``, some are jumps over its log calls."""

    library: str
    sites: tuple[Site, ...]
    is_checked: bool


def find(
    image: Image, decoder: Decoder, strings: dict[int, str], uses: list[flow.Use]
) -> KeyLog:
    """Return where secrets are logged; RefusedError if that is not understood."""
    proven = _log_function(image, decoder, uses)
    if proven is None:
        return _merged(image, decoder, strings, uses)
    library, log = proven
    if oracle.tests_callback(image, decoder, log.address, log.roles):
        entry = probeable.entry(image, decoder, log.address)
        if entry is None:
            raise RefusedError("The kernel cannot probe the begin of its log function.")
        site = oracle.site(image, entry, log.label, log.roles)
        return KeyLog(library, (site,), is_checked=False)
    found = [use for use in uses if use.target == log.address]
    # A compiler may make a copy of the function for one of the labels.
    if not {use.label for use in found} >= _NEEDED & {*strings.values()}:
        raise RefusedError("Not all calls of its log function were understood.")
    calls = {use.call for use in found}
    sites = callback_check.sites(image, decoder, strings, log, calls)
    return KeyLog(library, sites, is_checked=True)


def _log_function(
    image: Image, decoder: Decoder, uses: list[flow.Use]
) -> tuple[str, LogFunction] | None:
    """Return the library and its log function, proven among the callees with labels."""
    for function, argument, found in flow.candidates(image, uses)[:_CANDIDATES_MAX]:
        if len(found) < LABELS_MIN:
            break
        roles = oracle.prove(image, decoder, function, argument)
        if roles:
            library = family.of_lines(image)
            return library, LogFunction(function, argument, roles)
        roles = gnutls.prove(image, function, argument)
        if roles:
            return "GnuTLS", LogFunction(function, argument, roles)
    return None


def _merged(
    image: Image, decoder: Decoder, strings: dict[int, str], uses: list[flow.Use]
) -> KeyLog:
    """Return the jumps over the calls of GnuTLS's callback."""
    log = gnutls.merged_log(image)
    through = [u for u in uses if u.target is None and u.argument == _LABEL]
    if log is None or not {use.label for use in through} >= _NEEDED:
        why = (
            "It holds key-log labels, but the function that logs them was not "
            "understood"
        )
        raise RefusedError(family.with_used(image, why))
    calls = {use.call for use in through}
    sites = callback_check.sites(image, decoder, strings, log, calls)
    return KeyLog("GnuTLS", sites, is_checked=True)
