"""System calls that Python's os module does not offer, made through the C library."""

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> int:
    """Call a function of the C library and return its result.

    For functions that return -1 and set errno on failure: OSError then carries that
    errno. Integers are passed as C ints; pass pointers with ctypes.byref().
    """
    result: int = getattr(_libc, name)(*arguments)
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
