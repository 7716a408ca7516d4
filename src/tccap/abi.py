"""The engine's side of bpf/abi.h, which states what each value means."""

BLOCK_MAX = 262144
EPB_HEADER_LEN = 28
OPTIONS_MAX = 2048
CAPLEN_MAX = BLOCK_MAX - EPB_HEADER_LEN - OPTIONS_MAX

# Interfaces that one capture can describe; counters[] has as many entries.
INTERFACES = 4096
PAGE_LEN = 4096


def defines(snaplen: int, ring_pages: int, cpus: int) -> dict[str, int]:
    """Return the -D definitions that the BPF programs are compiled with."""
    snaplen = min(snaplen, CAPLEN_MAX)
    return {
        "SNAPLEN": snaplen,
        "SNAPLEN_PADDED": (snaplen + 3) & ~3,
        "RING_PAGES": ring_pages,
        "CPUS": cpus,
        "INTERFACES": INTERFACES,
    }


def ring_pages(mib: int) -> int:
    """Return the pages of a ring of at least ``mib`` MiB: a power of two."""
    pages = mib * (1 << 20) // PAGE_LEN
    return 1 << (pages - 1).bit_length()
