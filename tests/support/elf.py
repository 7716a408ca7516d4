"""Small ELF files, made by hand."""

import struct

PROGRAM = struct.Struct("<IIQQQQQQ")


def elf(*segments: bytes, machine: int = 62, kind: int = 3, more: bytes = b"") -> bytes:
    """Return a file with these program headers."""
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    count = len(segments)
    sizes = struct.pack("<HHHHHH", 64, 56, count, 0, 0, 0)
    head = ident + struct.pack("<HHIQQQI", kind, machine, 1, 0, 64, 0, 0) + sizes
    return head + b"".join(segments) + more


def load(offset: int, address: int, size: int, flags: int = 5) -> bytes:
    """Return the program header of a PT_LOAD."""
    return PROGRAM.pack(1, flags, offset, address, address, size, size, 0x1000)
