"""The one exception that reaches people."""


class TccapError(Exception):
    """Something a person can act on.

    The text is one sentence that says what is wrong, and where it helps what
    to do next; it is shown as it is, by Wireshark or on a terminal, without a
    traceback.
    """
