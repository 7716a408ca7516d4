"""Stand-ins for the imported functions that log functions call.

All other imports return zero. The allocators never reuse memory.
"""

from collections.abc import Callable
from typing import Final

from tccap.tls.finder.machine import Machine, Stub

_COPY_LEN_MAX = 1 << 16
_NEW_MEMORY_LEN = 1 << 14


def _allocate(machine: Machine) -> int:
    return machine.allocate(machine.argument(0))


def _allocate_array(machine: Machine) -> int:
    return machine.allocate(machine.argument(0) * machine.argument(1))


def _reallocate(machine: Machine) -> int:
    return machine.allocate(machine.argument(1))


def new_memory(machine: Machine) -> int:
    """Only return new memory."""
    return machine.allocate(_NEW_MEMORY_LEN)


def nothing(_machine: Machine) -> int:
    """Only return zero."""
    return 0


def _strlen(machine: Machine) -> int:
    return len(machine.string(machine.argument(0)))


def _strcmp(machine: Machine) -> int:
    one, other = (machine.string(machine.argument(n)) for n in (0, 1))
    return int(one != other)


def _strcpy(machine: Machine) -> int:
    machine.write(machine.argument(0), machine.string(machine.argument(1)) + b"\0")
    return machine.argument(0)


def _memcpy(machine: Machine) -> int:
    size = machine.argument(2)
    if size <= _COPY_LEN_MAX:
        machine.write(machine.argument(0), machine.read(machine.argument(1), size))
    return machine.argument(0)


def _memset(machine: Machine) -> int:
    size = machine.argument(2)
    if size <= _COPY_LEN_MAX:
        machine.write(machine.argument(0), bytes([machine.argument(1) & 0xFF]) * size)
    return machine.argument(0)


def _printf(form: int, first: int) -> Stub:
    """Return an sprintf of one byte in hexadecimal.

    ``form`` and ``first`` are the numbers of the arguments with format and byte.
    """

    def write(machine: Machine) -> int:
        value = machine.argument(first) & 0xFF
        texts = {b"%02x": f"{value:02x}", b"%02X": f"{value:02X}"}
        text = texts.get(machine.string(machine.argument(form)), "?").encode()
        machine.write(machine.argument(0), text + b"\0")
        return len(text)

    return write


_BY_FUNCTION: Final[dict[Callable[[Machine], int], tuple[bytes, ...]]] = {
    _allocate: (
        *(b"malloc", b"CRYPTO_malloc", b"CRYPTO_zalloc", b"OPENSSL_malloc"),
        *(b"PORT_Alloc_Util", b"PORT_ZAlloc_Util"),
    ),
    _allocate_array: (b"calloc", b"CRYPTO_malloc_array"),
    _reallocate: (b"realloc",),
    _strlen: (b"strlen",),
    _strcmp: (b"strcmp",),
    _strcpy: (b"strcpy",),
    _memcpy: (b"memcpy", b"memmove", b"__memcpy_chk", b"__memmove_chk"),
    _memset: (b"memset", b"__memset_chk"),
    _printf(1, 2): (b"sprintf",),
    _printf(2, 3): (b"snprintf", b"BIO_snprintf"),
    _printf(3, 4): (b"__sprintf_chk",),
    _printf(4, 5): (b"__snprintf_chk",),
    new_memory: (b"PR_NewLock",),
    nothing: (
        *(b"free", b"CRYPTO_free", b"CRYPTO_clear_free", b"OPENSSL_free"),
        *(b"pthread_rwlock_rdlock", b"pthread_rwlock_unlock"),
        *(b"pthread_mutex_lock", b"pthread_mutex_unlock"),
    ),
}
STUBS: Final[dict[bytes, Stub]] = {
    name: stub for stub, names in _BY_FUNCTION.items() for name in names
}
