"""bcc, which is slow to import and may be missing, so it is imported on first use."""

import os
from typing import Any

from tccap.errors import TccapError
from tccap.paths import BPF_DIR


class CompileError(Exception):
    """bcc could not compile a text; the compiler's messages are on stderr."""


def bcc() -> Any:
    """Return the package; TccapError if it is missing says how to install it."""
    try:
        import bcc  # noqa: PLC0415  # slow
    except (ImportError, OSError):
        raise TccapError(
            "bcc is missing: install python3-bpfcc (sudo apt install python3-bpfcc), "
            "on Fedora and Arch python3-bcc or python-bcc."
        ) from None
    return bcc


def program(text: str, *flags: str) -> Any:
    """Compile a C text and return bcc's BPF object.

    Headers come from bpf/, never from the kernel. CompileError if bcc cannot compile
    it, TccapError if bcc is missing.
    """
    bpf = bcc().BPF
    # Overrides the caller's environment, so that bcc looks nowhere else.
    os.environ["BCC_KERNEL_SOURCE"] = BPF_DIR
    try:
        return bpf(text=text.encode(), cflags=["-Wno-macro-redefined", *flags])
    except Exception as error:  # noqa: BLE001  # bcc raises nothing narrower
        raise CompileError(*error.args) from None
