"""The reason why a file has no sites."""

from tccap.errors import TccapError


class RefusedError(TccapError):
    """One sentence: why no secrets can be read. It becomes Inspection.refusal."""
