"""The one exception that reaches people."""

QUOTED_LEN_MAX = 80


class TccapError(Exception):
    """Something a person can act on.

    The text is one sentence that says what is wrong, and where it helps what
    to do next; it is shown as it is, by Wireshark or on a terminal, without a
    traceback.
    """


def refused(error: OSError) -> str:
    """Return the sentence for what the system refuses where nobody expected it."""
    where = f" ({quoted(str(error.filename))})" if error.filename else ""
    return f"The system refuses tccap something: {error.strerror}{where}."


def quoted(text: str) -> str:
    """Return a user's text for such a sentence: in quotes, escaped, not too long."""
    if len(text) <= QUOTED_LEN_MAX:
        return repr(text)
    return f"{text[:QUOTED_LEN_MAX]!r}..."
