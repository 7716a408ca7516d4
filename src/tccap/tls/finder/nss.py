"""NSS: the function of libssl3 that gets a label with its key, and a key's handle.

Each secret goes through ``ssl3_RecordKeyLog(socket, label, key)``, but its body is
empty in most builds, so running it proves nothing. Instead the caller that gets the
labels of TLS 1.3 is run, with all its callees replaced: it passes on socket and label,
and the key that another callee has made. A key's bytes are not in libssl3, only its
handle: `softoken` has them.
"""

import struct
from collections.abc import Iterator

from tccap.tls.finder import calls
from tccap.tls.finder.code import Decoder
from tccap.tls.finder.flow import ARGUMENTS, Use, candidates
from tccap.tls.finder.image import Image
from tccap.tls.finder.machine import Machine, Stub
from tccap.tls.finder.memory import WORD
from tccap.tls.finder.oracle import RANDOM_LEN, TRIALS
from tccap.tls.finder.stubs import STUBS, nothing
from tccap.tls.sites import HANDLE_LEN, KEY_LEN, Path, Site

GET_HANDLE = b"PK11_GetSymKeyHandle"
_DERIVE = (b"PK11_Derive", b"PK11_DeriveWithFlags")
NAMES = frozenset((GET_HANDLE, *_DERIVE))

_SOCKET, _LABEL, _KEY = range(3)
_ARGUMENT_COUNT = 6
_CALLERS_MAX = 16
# SECItem of secitem.h: data and its length, behind the type.
_ITEM = struct.Struct("<8xQI")
# CK_SSL3_RANDOM_DATA (PKCS#11 2.40): client's and server's random, with their lengths.
_RANDOMS = struct.Struct("<QQQQ")
# CKM_..._MASTER_KEY_DERIVE of SSL 3, TLS and TLS 1.2, and with _DH: it comes first in
# their parameters. CKM_..._KEY_AND_MAC_DERIVE: three lengths and a flag are before it.
_RANDOMS_AT = dict.fromkeys((0x371, 0x373, 0x375, 0x377, 0x3E0, 0x3E2), 0) | (
    dict.fromkeys((0x372, 0x376, 0x3E1), 32)
)


def handle_at(image: Image) -> int | None:
    """Return the offset of the handle in a key (PK11SymKey): libnss3 has a getter."""
    function = image.symbols.address.get(GET_HANDLE)
    if function is None:
        return None
    machine = Machine(image, STUBS)
    machine.call(function, (None,))
    found = machine.fakes.number(machine.register("rax"))
    if not machine.has_returned or found is None or found.width != WORD.size:
        return None
    path = found.path
    is_in_key = path.register == ARGUMENTS[0] and len(path.offsets) == 1
    ok = is_in_key and 0 <= path.offsets[0] <= KEY_LEN - HANDLE_LEN
    return path.offsets[0] if ok else None


def sites(image: Image, decoder: Decoder, uses: list[Use]) -> tuple[Site, ...]:
    """Return the site of the function that gets all labels with their keys."""
    random = _client_random(image)
    if random is None:
        return ()
    for caller, argument, _labels in candidates(image, uses):
        for function in _recorders(image, decoder, caller, argument):
            # It must also be the one that gets the label of TLS 1.2.
            if any(
                (use.target, use.argument, use.label)
                == (function, _LABEL, "CLIENT_RANDOM")
                for use in uses
            ):
                return (_site(image, function, random),)
    return ()


def _site(image: Image, function: int, random: int) -> Site:
    return Site(
        address=function,
        file_offset=image.elf.code_offset(function),
        kind="key",
        label=Path(ARGUMENTS[_LABEL], (0,)),
        label_len=None,
        client_random=Path(ARGUMENTS[_SOCKET], (random,)),
        secret=Path(ARGUMENTS[_KEY], (0,)),
        secret_len=KEY_LEN,
    )


def _recorders(image: Image, decoder: Decoder, caller: int, argument: int) -> set[int]:
    """Return the callees that get the caller's socket and label, and a new key."""
    own = calls.own_targets(image, decoder, caller)
    found: list[set[int]] = []
    for _, label in TRIALS:
        reached: set[int] = set()
        replaced = {f: _recording(f, label, reached) for f in own}
        machine = Machine(image, STUBS, replaced)
        arguments: list[bytes | None] = [None] * _ARGUMENT_COUNT
        arguments[argument] = label
        machine.call(caller, arguments)
        found.append(reached if machine.has_returned else set())
    return set.intersection(*found)


def _recording(function: int, label: bytes, reached: set[int]) -> Stub:
    """Return a stub that records calls with socket, label and a callee's result."""

    def record(machine: Machine) -> int:
        socket, text, key = (machine.argument(n) for n in (_SOCKET, _LABEL, _KEY))
        if (
            machine.fakes.path_to(socket) == Path(ARGUMENTS[0], (0,))
            and machine.string(text) == label
            and _is_result(machine.fakes.path_of_word(key))
        ):
            reached.add(function)
        return nothing(machine)

    return record


def _is_result(path: Path | None) -> bool:
    """Return whether a word is an output parameter of the caller, not the socket."""
    return path is not None and path.offsets == (0,) and path.register != ARGUMENTS[0]


# --- client_random ----------------------------------------------------------


def _client_random(image: Image) -> int | None:
    """Return the offset of client_random in a socket.

    The master secret, and keys from it, are derived by PKCS#11 mechanisms whose
    parameters name both randoms. All derivations must agree.
    """
    found: set[Path] = set()
    callers = {
        bounds[0]
        for call in calls.calls_of(image, _DERIVE)
        if (bounds := image.functions.around(call))
    }
    for caller in sorted(callers)[:_CALLERS_MAX]:
        for flag in (None, 0, 1):
            _run_derivation(image, caller, flag, found)
    if len(found) != 1:
        return None
    path = found.pop()
    ok = path.register == ARGUMENTS[_SOCKET] and len(path.offsets) == 1
    return path.offsets[0] if ok else None


def _run_derivation(
    image: Image, caller: int, flag: int | None, found: set[Path]
) -> None:
    def derive(machine: Machine) -> int:
        found.update(_randoms(machine))
        return 0

    machine = Machine(image, STUBS | dict.fromkeys(_DERIVE, derive))
    machine.call(caller, (None, None, flag, flag, flag, flag))


def _randoms(machine: Machine) -> Iterator[Path]:
    """Yield the path to client_random, if the arguments of PK11_Derive hold it."""
    at = _RANDOMS_AT.get(machine.argument(1))
    item = machine.read(machine.argument(2), _ITEM.size)
    if at is None or not item:
        return
    data, size = _ITEM.unpack(item)
    content = machine.read(data + at, _RANDOMS.size)
    if not content or size < at + _RANDOMS.size:
        return
    client, client_len, _server, server_len = _RANDOMS.unpack(content)
    path = machine.fakes.path_to(client)
    if client_len == server_len == RANDOM_LEN and path:
        yield path
