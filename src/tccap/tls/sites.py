"""The finder's answer: instructions at which TLS secrets can be read, and how.

An Inspection goes from a process that reads untrusted files to the privileged engine.
So it holds plain values only, and parsing it checks every one of them.
"""

import json
import re
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from tccap.errors import TccapError

# Labels of key-log lines: RFC 9850, and CLIENT_RANDOM for TLS 1.2 and before.
LABELS = (
    "CLIENT_RANDOM",
    "CLIENT_EARLY_TRAFFIC_SECRET",
    "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
    "SERVER_HANDSHAKE_TRAFFIC_SECRET",
    "CLIENT_TRAFFIC_SECRET_0",
    "SERVER_TRAFFIC_SECRET_0",
    "EARLY_EXPORTER_SECRET",
    "EXPORTER_SECRET",
)
LIBRARIES = ("OpenSSL", "BoringSSL", "GnuTLS", "Go", "NSS", "rustls", "s2n")
SEPARATOR = ", "  # between the names of the libraries in a file
# One hit of kind "line" is a whole key-log line. "key" and "value" are its two halves,
# in libraries that know a secret by its PKCS#11 handle; tccap.tls.keyjoin joins them.
KINDS = ("line", "key", "value")
KEY_LEN = 32  # how much is read of a library's own object for a key
HANDLE_LEN = 8  # CK_OBJECT_HANDLE
CKA_VALUE = b"\x11"  # the attribute's type in memory, up to its zeros
SECRET_LENS = (32, 48)  # SHA-256, SHA-384; TLS 1.2's master secret has 48 bytes
SITES_MAX = 64
LABEL_STRINGS_MAX = 64
OFFSETS_MAX = 4
OFFSET_LIMIT = 1 << 31  # structures are smaller, either way
ADDRESS_LIMIT = 1 << 47  # a user's half of the address space
TEXT_LEN_MAX = 500

_X86 = "rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15"
REGISTERS = frozenset((*_X86.split(), *(f"x{n}" for n in range(31)), "sp"))
_BUILD_ID = re.compile(r"(?:[0-9a-f]{2}){0,64}")
# In `Inspection.how`, before a library that the file has, too, and that is not read.
BUT_NOT = ", but not "
ANOTHER = "another library"
_HOW = re.compile(r"[a-z0-9 ,+-]{0,80}")


def _check(ok: bool, what: str) -> None:
    if not ok:
        raise TccapError(f"The inspection's {what} is not acceptable.")


@dataclass(frozen=True)
class Path:
    """An address expression over the registers at a probe.

    With offsets a, b, c it is ``*(*(register + a) + b) + c``: each offset but the last
    is followed by the load of a u64. The bytes are at the resulting address. Without
    offsets it is the register's own value.
    """

    register: str
    offsets: tuple[int, ...]

    def __post_init__(self) -> None:
        _check(isinstance(self.register, str) and self.register in REGISTERS, "path")
        _check(isinstance(self.offsets, tuple), "path")
        _check(len(self.offsets) <= OFFSETS_MAX, "path")
        ok = (_is_int(o, 1 - OFFSET_LIMIT, OFFSET_LIMIT) for o in self.offsets)
        _check(all(ok), "path")


@dataclass(frozen=True)
class Number:
    """A number of ``width`` bytes (4 or 8) at a path, or in a register's low bytes."""

    path: Path
    width: int

    def __post_init__(self) -> None:
        _check(isinstance(self.path, Path), "number")
        _check(type(self.width) is int and self.width in (4, 8), "number")


@dataclass(frozen=True)
class Numbered:
    """A label that a number stands for: ``labels`` has (number, label)."""

    number: Number
    labels: tuple[tuple[int, str], ...]

    def __post_init__(self) -> None:
        _check(isinstance(self.number, Number), "label")
        _check(isinstance(self.labels, tuple), "label")
        _check(len(self.labels) <= LABEL_STRINGS_MAX, "label")
        _check(all(map(_is_label_string, self.labels)), "label")


@dataclass(frozen=True)
class Site:
    """One instruction to probe.

    ``address`` is its ELF virtual address, ``file_offset`` its place in the file.
    ``label`` is one of LABELS, the path to it, or Numbered. ``label_len`` is its length
    in bytes, None if a NUL ends it. ``client_random`` is the path to 32 bytes.

    In a site of kind "key", ``secret`` is the path to KEY_LEN bytes of the library's
    object for the key; the handle is among them (Inspection.handle_at). In one of kind
    "value", ``secret`` is the path to the value of a key's attribute, ``label`` that to
    the attribute's type, and ``client_random`` that to the key's handle.
    """

    address: int
    file_offset: int
    kind: str
    label: str | Path | Numbered
    label_len: Number | None
    client_random: Path
    secret: Path
    secret_len: int | Number

    def __post_init__(self) -> None:
        _check(_is_int(self.address, 0, ADDRESS_LIMIT), "address")
        _check(_is_int(self.file_offset, 0, ADDRESS_LIMIT), "file offset")
        _check(isinstance(self.kind, str) and self.kind in KINDS, "kind")
        is_constant = isinstance(self.label, str) and self.label in LABELS
        is_numbered = isinstance(self.label, Numbered)
        _check(_is_bytes(self.label) or is_constant or is_numbered, "label")
        _check(self.label_len is None or isinstance(self.label_len, Number), "label")
        _check(self.label_len is None or isinstance(self.label, Path), "label")
        _check(_is_bytes(self.client_random), "client random")
        _check(_is_bytes(self.secret), "secret")
        constant = type(self.secret_len) is int and self.secret_len in SECRET_LENS
        _check(constant or isinstance(self.secret_len, Number), "secret's length")


@dataclass(frozen=True)
class Inspection:
    """The result for one ELF file.

    ``build_id`` is in hexadecimal, empty if the file has none. ``library`` has names of
    LIBRARIES, and is empty if none is known. ``how`` names the proof of the sites.
    ``handle_at`` is the offset of the handle in the library's object for a key, if this
    file has it. If nothing was found, ``refusal`` is one sentence that says why.
    ``label_strings`` are addresses at which the file holds one of LABELS.
    """

    build_id: str
    library: str
    version_hint: str
    sites: tuple[Site, ...]
    how: str
    refusal: str
    handle_at: int | None = None
    label_strings: tuple[tuple[int, str], ...] = ()

    def __post_init__(self) -> None:
        _check(_is_text(self.build_id), "build id")
        _check(_BUILD_ID.fullmatch(self.build_id) is not None, "build id")
        _check(isinstance(self.library, str), "library")
        names = self.library.split(SEPARATOR) if self.library else []
        _check(all(name in LIBRARIES for name in names), "library")
        _check(_is_text(self.version_hint), "version")
        _check(isinstance(self.sites, tuple), "list of sites")
        _check(len(self.sites) <= SITES_MAX, "list of sites")
        _check(all(isinstance(s, Site) for s in self.sites), "list of sites")
        _check(_is_text(self.how), "way")
        _check(_HOW.fullmatch(self.how) is not None, "way")
        _check(_is_text(self.refusal), "refusal")
        at = self.handle_at
        _check(at is None or _is_int(at, 0, KEY_LEN - HANDLE_LEN + 1), "handle")
        _check(len(self.label_strings) <= LABEL_STRINGS_MAX, "list of labels")
        _check(all(map(_is_label_string, self.label_strings)), "list of labels")
        is_found = bool(self.sites) or at is not None
        _check(bool(self.refusal) != is_found, "refusal")
        _check(bool(self.library) or not is_found, "library")

    def to_json(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Parse an untrusted Inspection; TccapError unless every value is allowed."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            raise TccapError("The inspection is not JSON.") from None
        values = _record(cls, values)
        sites, strings = values["sites"], values["label_strings"]
        _check(isinstance(sites, list), "list of sites")
        _check(isinstance(strings, list), "list of labels")
        _check(all(isinstance(string, list) for string in strings), "list of labels")
        lists = {
            "sites": tuple(map(_site, sites)),
            "label_strings": tuple(map(tuple, strings)),
        }
        return cls(**(values | lists))


def _site(value: object) -> Site:
    values = _record(Site, value)
    if not isinstance(values["label"], str):
        values["label"] = _label(values["label"])
    for name in ("client_random", "secret"):
        values[name] = _path(values[name])
    for name in ("label_len", "secret_len"):
        if isinstance(values[name], dict):
            values[name] = _number(values[name])
    return Site(**values)


def _label(value: object) -> Path | Numbered:
    if not isinstance(value, dict) or "labels" not in value:
        return _path(value)
    values = _record(Numbered, value)
    labels = values["labels"]
    _check(isinstance(labels, list), "label")
    _check(all(isinstance(each, list) for each in labels), "label")
    return Numbered(_number(values["number"]), tuple(map(tuple, labels)))


def _number(value: object) -> Number:
    values = _record(Number, value)
    return Number(_path(values["path"]), values["width"])


def _path(value: object) -> Path:
    values = _record(Path, value)
    offsets = values["offsets"]
    _check(isinstance(offsets, list), "path")
    return Path(values["register"], tuple(offsets))


def _record(kind: type[Any], value: object) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != {f.name for f in fields(kind)}:
        raise TccapError("The inspection does not have exactly the known fields.")
    return value


def _is_int(value: object, low: int, limit: int) -> bool:
    return type(value) is int and low <= value < limit


def _is_bytes(value: object) -> bool:
    """Return whether a value is a path to bytes, and not a register's own value."""
    return isinstance(value, Path) and bool(value.offsets)


def _is_label_string(value: tuple[object, ...]) -> bool:
    if len(value) != 2:
        return False
    address, label = value
    return _is_int(address, 0, ADDRESS_LIMIT) and label in LABELS


def _is_text(value: object) -> bool:
    """Return whether a value can be shown to people and written to a log."""
    return isinstance(value, str) and len(value) <= TEXT_LEN_MAX and _is_shown(value)


def _is_shown(text: str) -> bool:
    return text == "" or (text.isascii() and text.isprintable())
