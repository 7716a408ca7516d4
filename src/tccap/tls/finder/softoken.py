"""NSS's softoken: where every new key has its handle and its value.

NSS works with keys through a table of functions that softoken exports, in the order of
PKCS#11. The four that make keys call few functions in common. Among these are the one
that makes an object, the one that adds an attribute to it, and the one that registers
it and so gives it a handle. All combinations are run, one function after the other on
one emulated processor. If they leave an object with our value and a handle, these are
the functions, and the object shows the offsets of both. Otherwise nothing is probed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tccap.tls.finder import calls
from tccap.tls.finder.code import Decoder
from tccap.tls.finder.image import Image
from tccap.tls.finder.machine import REGISTERS, Machine
from tccap.tls.finder.memory import WORD
from tccap.tls.finder.stubs import STUBS
from tccap.tls.sites import Number, Path, Site

GET_TABLE = b"NSC_GetFunctionList"
# Indexes in CK_FUNCTION_LIST, in words: C_CreateObject, C_GenerateKey, C_UnwrapKey,
# C_DeriveKey (PKCS#11 2.40, pkcs11f.h).
_MAKERS_OF_KEYS = (21, 59, 62, 63)
_SHARED_MAX = 12
_CLASS, _VALUE, _KEY_TYPE, _DERIVE = 0x0, 0x11, 0x100, 0x10C  # CKA_...
_SECRET_KEY, _GENERIC_SECRET = WORD.pack(4), WORD.pack(0x10)  # CKO_..., CKK_...
_ATTRIBUTES = ((_CLASS, _SECRET_KEY), (_KEY_TYPE, _GENERIC_SECRET))
_OBJECT_LEN = 0x2000  # of an object, as far as it may point to attributes
_HEAD_LEN = 0x80  # of an object or attribute: handle, links
_DONE = 0  # CKR_OK


@dataclass(frozen=True)
class _Trial:
    """One way to make a key: its attributes in their order, and the memory around."""

    attributes: tuple[tuple[int, bytes], ...]
    gap_len: int  # memory allocated between slot and object
    slot_is_empty: bool  # all zeros; otherwise a fake

    @property
    def secret(self) -> bytes:
        return dict(self.attributes)[_VALUE]


_TRIALS = (
    _Trial((*_ATTRIBUTES, (_VALUE, bytes(range(0x41, 0x71)))), 0x50, False),
    _Trial(
        ((_VALUE, bytes(range(0x61, 0x81))), (_DERIVE, b"\1"), *_ATTRIBUTES),
        0x1230,
        True,
    ),
)


@dataclass(frozen=True)
class _Functions:
    make: int  # object = make(slot)
    add: int  # add(object, attribute's type, its bytes, how many)
    register: int  # register(object, session)


@dataclass(frozen=True)
class _Layout:
    """Offsets in a registered object."""

    handle: int
    way: tuple[int, ...]  # loads that lead to the structure with CKA_VALUE's attribute
    attribute: int  # offset of its CK_ATTRIBUTE there: type, pointer, length


def sites(image: Image, decoder: Decoder) -> tuple[Site, ...]:
    """Return the site where softoken registers keys; empty if this is not softoken."""
    for functions in _functions(image, decoder):
        layouts = [_layouts(*_made(image, functions, t), t) for t in _TRIALS]
        agreed = layouts[0].intersection(*layouts)
        # Prefer the linked list, whose link is the first word, to chance pointers.
        for layout in sorted(agreed, key=lambda found: found.way[::-1]):
            site = _site(image, decoder, functions, layout)
            if site:
                return (site,)
    return ()


def _functions(image: Image, decoder: Decoder) -> Iterator[_Functions]:
    """Yield combinations of functions of which the first two work together."""
    shared = _shared(image, decoder)
    for make in shared:
        if not _object(Machine(image, STUBS), make, _TRIALS[0]):
            continue
        for add in shared:
            machine = Machine(image, STUBS)
            made = _object(machine, make, _TRIALS[0])
            if not _fill(machine, add, made, _TRIALS[0]):
                continue
            if not _ways(machine, made, _TRIALS[0].secret):
                continue
            for register in shared:
                yield _Functions(make, add, register)


def _shared(image: Image, decoder: Decoder) -> list[int]:
    """Return the functions that all functions that make keys call."""
    get_table = image.symbols.address.get(GET_TABLE)
    if get_table is None:
        return []
    machine = Machine(image, STUBS)
    pointer = machine.new_bytes(bytes(WORD.size))
    machine.call(get_table, (pointer,))
    table = _word(machine, pointer)
    makers = [_word(machine, table + WORD.size * n) for n in _MAKERS_OF_KEYS]
    called = [
        calls.own_targets(image, decoder, maker - machine.bias) for maker in makers
    ]
    shared = called[0].intersection(*called[1:])
    return sorted(shared) if len(shared) <= _SHARED_MAX else []


# --- running ----------------------------------------------------------------


def _object(machine: Machine, make: int, trial: _Trial) -> int:
    """Return the address of a new object; 0 if none was made."""
    slot = machine.new_bytes(bytes(_OBJECT_LEN)) if trial.slot_is_empty else None
    machine.new_bytes(bytes(trial.gap_len))
    machine.call(make, (slot,))
    address = machine.register("rax")
    return address if machine.has_returned and machine.is_new(address) else 0


def _fill(machine: Machine, add: int, made: int, trial: _Trial) -> bool:
    """Return whether all attributes were added to an object."""
    for kind, content in trial.attributes:
        value = machine.new_bytes(content)
        machine.call(add, (made, kind, value, len(content)))
        if not machine.has_returned or machine.register("rax") != _DONE:
            return False
    return True


def _made(
    image: Image, functions: _Functions, trial: _Trial, until: int | None = None
) -> tuple[Machine, int]:
    """Return a machine with a registered key, and the key's address; 0 if that failed.

    With ``until`` it has stopped at that instruction of the registering function.
    """
    machine, made = _prepared(image, functions, trial)
    if not made:
        return machine, 0
    machine.call(functions.register, (made, None), until)
    done = until is not None or machine.register("rax") == _DONE
    return machine, made if machine.has_returned and done else 0


def _prepared(
    image: Image, functions: _Functions, trial: _Trial
) -> tuple[Machine, int]:
    """Return a machine with an object with all attributes; 0 if that failed."""
    machine = Machine(image, STUBS)
    made = _object(machine, functions.make, trial)
    filled = made and _fill(machine, functions.add, made, trial)
    return machine, made if filled else 0


# --- reading ----------------------------------------------------------------


def _layouts(machine: Machine, made: int, trial: _Trial) -> set[_Layout]:
    if not made:
        return set()
    handles = [
        n for n in range(0, _HEAD_LEN, WORD.size) if _is_handle(machine, made + n)
    ]
    if len(handles) != 1:
        return set()
    ways = _ways(machine, made, trial.secret)
    return {_Layout(handles[0], way, attribute) for way, attribute in ways}


def _is_handle(machine: Machine, address: int) -> bool:
    """Return whether a word holds a 32-bit counter read through the session."""
    counted = machine.fakes.number(_word(machine, address))
    return (
        counted is not None
        and counted.width == 4
        and counted.path.register == "rsi"
        and bool(counted.path.offsets)
    )


def _ways(
    machine: Machine, made: int, secret: bytes
) -> set[tuple[tuple[int, ...], int]]:
    """Return (loads, offset) that lead from an object to the value's attribute."""
    found: set[tuple[tuple[int, ...], int]] = set()
    for first, near in _pointers(machine, made, _OBJECT_LEN):
        found |= {((first,), n) for n in _attributes(machine, near, secret)}
        for second, far in _pointers(machine, near, _HEAD_LEN):
            attributes = _attributes(machine, far, secret)
            found |= {((first, second), n) for n in attributes}
    return found


def _pointers(machine: Machine, address: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (offset, pointer) of the words at an address that point to new memory."""
    for n, word in enumerate(_words(machine, address, size)):
        if machine.is_new(word):
            yield n * WORD.size, word


def _attributes(machine: Machine, address: int, secret: bytes) -> Iterator[int]:
    """Yield the offsets, from an address, of CK_ATTRIBUTEs with this value."""
    words = _words(machine, address, _HEAD_LEN)
    for n, (kind, value, length) in enumerate(
        zip(words, words[1:], words[2:], strict=False)
    ):
        if (kind, length) == (_VALUE, len(secret)) and (
            machine.read(value, length) == secret
        ):
            yield n * WORD.size


def _words(machine: Machine, address: int, size: int) -> list[int]:
    return [word for [word] in WORD.iter_unpack(machine.read(address, size))]


def _word(machine: Machine, address: int) -> int:
    content = machine.read(address, WORD.size)
    return int(WORD.unpack(content)[0]) if content else 0


# --- the site ---------------------------------------------------------------


def _site(
    image: Image, decoder: Decoder, functions: _Functions, layout: _Layout
) -> Site | None:
    """Return the last call in the registering function at which the key is complete."""
    for address in _calls_run(image, decoder, functions):
        holders = [_holders(image, functions, t, layout, address) for t in _TRIALS]
        for register in sorted(holders[0].intersection(*holders)):
            return Site(
                address=address,
                file_offset=image.elf.code_offset(address),
                kind="value",
                label=Path(register, (*layout.way, layout.attribute)),
                label_len=None,
                client_random=Path(register, (layout.handle,)),
                secret=Path(register, (*layout.way, layout.attribute + WORD.size, 0)),
                secret_len=Number(
                    Path(register, (*layout.way, layout.attribute + 2 * WORD.size)), 8
                ),
            )
    return None


def _calls_run(image: Image, decoder: Decoder, functions: _Functions) -> list[int]:
    """Return the calls that are executed to register a key, the last one first."""
    machine, made = _prepared(image, functions, _TRIALS[0])
    start, end = image.functions.around(functions.register) or (0, 0)
    run = machine.trace(start, end)
    machine.call(functions.register, (made, None))
    found = {call.address for call in calls.inside(image, decoder, functions.register)}
    return [address for address in reversed(run) if address in found]


def _holders(
    image: Image, functions: _Functions, trial: _Trial, layout: _Layout, address: int
) -> set[str]:
    """Return the registers that hold the key at an address, if it is complete there."""
    machine, made = _made(image, functions, trial, until=address)
    if layout not in _layouts(machine, made, trial):
        return set()
    return {name for name in REGISTERS if machine.register(name) == made}
