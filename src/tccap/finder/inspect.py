"""From a file's bytes to an Inspection: which ways are tried, in order."""

import importlib

import capstone
import unicorn

from tccap.finder import family, flow, gnutls, golang, labels, oracle
from tccap.finder.code import Decoder
from tccap.finder.elf import Data
from tccap.finder.errors import RefusedError
from tccap.finder.image import Image
from tccap.finder.stubs import STUBS
from tccap.tlssites import Inspection, Site

LABELS_MIN = 3  # fewer labels in one place are not the key log of a TLS library
_CANDIDATES_MAX = 4
_WANTED = frozenset((*STUBS, gnutls.GET_RANDOM))


def load() -> None:
    """Load what the packages would load when they are first used."""
    importlib.import_module("numpy.ma")
    unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)


def inspect(data: Data) -> Inspection:
    """Say what can be read of TLS secrets where this file's code runs."""
    build_id = ""
    try:
        image = Image(data, _WANTED)
        build_id = image.elf.build_id
        in_go = golang.sites(image)
        if in_go:
            version = family.version(image, "Go")
            return Inspection(build_id, "Go", version, in_go, "gopclntab", "")
        library, site = _key_log(image)
    except RefusedError as refusal:
        return Inspection(build_id, "", "", (), "", str(refusal))
    version = family.version(image, library)
    return Inspection(build_id, library, version, (site,), "oracle", "")


def _key_log(image: Image) -> tuple[str, Site]:
    strings = labels.strings(image)
    if len(set(strings.values())) < LABELS_MIN:
        raise RefusedError(
            "It holds no key-log labels: it is no TLS library that is known."
        )
    decoder = Decoder(image.elf)
    references = labels.references(image, decoder, strings)
    uses = list(flow.Tracer(image, decoder, references).uses())
    for function, argument, found in flow.candidates(image, uses)[:_CANDIDATES_MAX]:
        if len(found) < LABELS_MIN:
            break
        for library, prove in (("", oracle.prove), ("GnuTLS", gnutls.prove)):
            roles = prove(image, function, argument)
            if roles is None:
                continue
            if not oracle.returns_without_callback(image, function, roles):
                raise RefusedError(
                    "Its function that logs secrets is not called unless asked for."
                )
            site = oracle.site(image, function, argument, roles)
            return library or family.of_lines(image), site
    raise RefusedError(
        "It holds key-log labels, but the function that logs them was not understood."
    )
