"""From a file's bytes to an Inspection: the methods, in the order they are tried.

1. Go: the log function has a name (`golang`).
2. NSS: label and key meet in one function, the key's bytes are in softoken (`nss`,
   `softoken`).
3. A log function that gets the labels, proven by running it, and probed at its entry,
   or at the jumps over its calls (`keylog`).
4. rustls, also beside another library: the calls of its key log (`rustls`).
5. s2n, also beside others: two functions with names, proven by running them (`s2n`).
"""

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import capstone
import unicorn

from tccap.tls.finder import (
    family,
    flow,
    gnutls,
    golang,
    keylog,
    labels,
    nss,
    probeable,
    rustls,
    s2n,
    softoken,
)
from tccap.tls.finder.code import Decoder
from tccap.tls.finder.elf import Data
from tccap.tls.finder.errors import RefusedError
from tccap.tls.finder.image import Image
from tccap.tls.finder.stubs import STUBS
from tccap.tls.sites import (
    ANOTHER,
    BUT_NOT,
    LABEL_STRINGS_MAX,
    SEPARATOR,
    SITES_MAX,
    Inspection,
    Site,
)

# The proofs (Inspection.how), as people read them.
EMULATION = "emulation"
CALLBACK_CHECKS = "emulation from the callback checks"
KEY_HANDLES = "key handles"
GO_FUNCTION_TABLE = "go function table"
_WANTED = frozenset((*STUBS, *gnutls.NAMES, softoken.GET_TABLE, *nss.NAMES, *s2n.NAMES))


@dataclass(frozen=True)
class Found:
    """A library, its sites, and how they were proven (`sites.Inspection`)."""

    library: str
    sites: tuple[Site, ...]
    how: str
    handle_at: int | None = None
    strings: Mapping[int, str] = field(default_factory=dict)  # labels by address


def load() -> None:
    """Load the parts that the packages load at their first use."""
    importlib.import_module("numpy.ma")
    unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)


def inspect(data: Data) -> Inspection:
    """Return where secrets can be read in the code of a file, or why they cannot."""
    build_id = ""
    try:
        image = Image(data, _WANTED)
        build_id = image.elf.build_id
        in_go = golang.sites(image)
        if in_go:
            _check_probeable(image, in_go)
            version = family.version(image, "Go")
            return Inspection(
                *(build_id, "Go", version, in_go, GO_FUNCTION_TABLE, ""),
                label_strings=_first(labels.texts(image)),
            )
        found = _with_s2n(image)
        _check_probeable(image, found.sites)
    except RefusedError as refusal:
        return Inspection(build_id, "", "", (), "", str(refusal))
    version = family.version(image, found.library)
    return Inspection(
        *(build_id, found.library, version, found.sites, found.how, ""),
        found.handle_at,
        _first(found.strings),
    )


def _check_probeable(image: Image, sites: Iterable[Site]) -> None:
    if not all(probeable.is_probeable(image, site.address) for site in sites):
        raise RefusedError("The kernel cannot probe an instruction that gives secrets.")


def _first(strings: Mapping[int, str]) -> tuple[tuple[int, str], ...]:
    """Return the first strings; a probe tries to read those that are left out."""
    return tuple(sorted(strings.items())[:LABEL_STRINGS_MAX])


def _without_labels(image: Image) -> Found:
    """Inspect a file without labels: libsoftokn3 and libnss3 have none."""
    sites = softoken.sites(image, Decoder(image.elf))
    handle_at = nss.handle_at(image)
    if sites or handle_at is not None:
        return Found("NSS", sites, KEY_HANDLES, handle_at)
    if softoken.GET_TABLE in image.symbols.address:
        raise RefusedError("It is NSS's softoken, but its keys were not understood.")
    if s2n.is_in(image):
        raise RefusedError(
            "It uses s2n, whose log functions have no names in it or were not "
            "understood: if the program can write a key log, name that in the option "
            "keylog-file."
        )
    if len(labels.counted(image)) < keylog.LABELS_MIN:
        raise RefusedError(
            "It holds no key-log labels: it is no TLS library that is known."
        )
    if family.is_rustls(image):
        raise RefusedError(
            "It uses rustls, but the calls of its key log were not understood: if the "
            "program can write a key log, name that in the option keylog-file."
        )
    why = "It holds key-log labels in a form that is not understood"
    raise RefusedError(family.with_used(image, why))


def _with_s2n(image: Image) -> Found:
    """Return s2n, other libraries, or both."""
    sites = s2n.sites(image)
    try:
        other = _key_log(image)
    except RefusedError:
        if not sites:
            raise
        return _alone(image, Found("s2n", sites, EMULATION))
    if len(other.sites) + len(sites) > SITES_MAX:
        return other
    library = f"{other.library}{SEPARATOR}s2n" if sites else other.library
    return replace(other, library=library, sites=(*other.sites, *sites))


def _key_log(image: Image) -> Found:
    """Return rustls, another library, or both."""
    try:
        in_rust = _in_rust(image)
    except RefusedError:
        in_rust = None
    try:
        other = _other_key_log(image)
    except RefusedError:
        if in_rust and in_rust.sites:
            return _alone(image, in_rust)
        raise
    if not in_rust:
        return other
    sites = (*other.sites, *in_rust.sites)
    if not in_rust.sites or len(sites) > SITES_MAX:
        return replace(other, how=f"{other.how}{BUT_NOT}{in_rust.library}")
    library = f"{other.library}{SEPARATOR}{in_rust.library}"
    return replace(other, library=library, sites=sites, strings=in_rust.strings)


def _alone(image: Image, found: Found) -> Found:
    """Return what was found, and whether another library beside it was refused."""
    in_c = {*labels.strings(image).values()}
    if len(in_c) < keylog.LABELS_MIN:
        return found
    return replace(found, how=f"{found.how}{BUT_NOT}{ANOTHER}")


def _in_rust(image: Image) -> Found | None:
    """Return rustls, without sites if it is not understood; None if it is not there."""
    strings = labels.texts(image)
    with_nul = labels.strings(image)
    without = {label for at, label in strings.items() if at not in with_nul}
    if len(without) < keylog.LABELS_MIN:
        return None
    sites = rustls.Sites(image, Decoder(image.elf)).all()
    if not sites and not family.is_rustls(image):
        return None
    return Found("rustls", sites, EMULATION, strings=strings)


def _other_key_log(image: Image) -> Found:
    strings = labels.strings(image)
    if len(set(strings.values())) < keylog.LABELS_MIN:
        return replace(_without_labels(image), strings=strings)
    return replace(_with_labels(image, strings), strings=strings)


def _with_labels(image: Image, strings: dict[int, str]) -> Found:
    decoder = Decoder(image.elf)
    references = labels.references(image, decoder, strings)
    uses = list(flow.Tracer(image, decoder, references).uses())
    of_nss = nss.sites(image, decoder, uses)
    if of_nss:
        keys = softoken.sites(image, decoder)
        return Found("NSS", (*of_nss, *keys), KEY_HANDLES, nss.handle_at(image))
    found = keylog.find(image, decoder, strings, uses)
    how = CALLBACK_CHECKS if found.is_checked else EMULATION
    return Found(found.library, found.sites, how)
