"""Why a file gives no sites."""

from tccap.errors import TccapError


class RefusedError(TccapError):
    """One sentence that says why a file is not understood; it goes into the answer."""
