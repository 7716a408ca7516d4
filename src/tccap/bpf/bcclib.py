"""bcc, which is slow to import and may be missing: asked for where it is needed."""

import os
from typing import Any

from tccap.errors import TccapError
from tccap.paths import BPF_DIR


class CompileError(Exception):
    """A text that bcc could not compile; it has printed what the compiler says."""


def bcc() -> Any:
    """Return the package; TccapError says how to install it."""
    try:
        import bcc  # noqa: PLC0415  # only the first time, and not if nobody needs it
    except (ImportError, OSError):
        raise TccapError(
            "bcc is missing: install python3-bpfcc (sudo apt install python3-bpfcc), "
            "on Fedora and Arch python3-bcc or python-bcc."
        ) from None
    return bcc


def program(text: str, *flags: str) -> Any:
    """Compile a C text; return bcc's BPF object, or raise CompileError.

    TccapError without bcc. Headers are those of bpf/, none of the kernel's.
    """
    bpf = bcc().BPF
    # Whatever the caller's environment says: only this tree is tried.
    os.environ["BCC_KERNEL_SOURCE"] = BPF_DIR
    try:
        return bpf(text=text.encode(), cflags=["-Wno-macro-redefined", *flags])
    except Exception as error:  # noqa: BLE001  # bcc raises nothing narrower
        raise CompileError(*error.args) from None
