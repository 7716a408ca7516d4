"""bcc, which is slow to import and may be missing: asked for where it is needed."""

from typing import Any

from tccap.errors import TccapError


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
