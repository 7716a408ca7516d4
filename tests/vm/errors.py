"""Errors that the user can correct."""


class VmError(Exception):
    """An error, described in one sentence."""
