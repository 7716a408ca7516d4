"""What goes wrong in a way that a person can put right."""


class VmError(Exception):
    """One sentence that says what is wrong."""
