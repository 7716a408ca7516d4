"""Trying whether processes can be confined here as a capture confines them.

Each function tries it in a child process, which ends.
"""

import os
from collections.abc import Callable
from typing import NamedTuple

from tccap.host import libc, sandbox

_CLONE_NEWIPC, _CLONE_NEWNET = 0x08000000, 0x40000000  # linux/sched.h


class Entered(NamedTuple):
    """What became of a child that entered a sandbox."""

    refusal: str  # of the kernel; empty: it is confined
    uid: int = -1  # as which user
    is_own_user: bool = False  # a user that nobody else is


def enter() -> Entered:
    """Enter the carrier's sandbox, which takes all that the others take."""

    def confined() -> str:
        sandbox.enter(None, {}, sandbox.CARRYING)
        return str(os.getuid())

    refusal, answer = _in_child(confined)
    if refusal:
        return Entered(refusal)
    return Entered("", int(answer), sandbox.is_unused(int(answer)))


def leave_network() -> str:
    """Leave the network and IPC namespaces, as the finder; return the refusal."""

    def left() -> str:
        libc.call("unshare", _CLONE_NEWIPC | _CLONE_NEWNET)
        return ""

    return _in_child(left)[0]


def _in_child(work: Callable[[], str]) -> tuple[str, str]:
    """Do the work in a child; return why it failed, and its answer."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _answer(work, writer)
    os.close(writer)
    with os.fdopen(reader, "r") as answers:
        text = answers.read()
    status = os.waitpid(child, 0)[1]
    kind, answer = text[:1], text[1:]
    if kind == "+":
        return "", answer
    return answer or f"it ended with status {status}", ""


def _answer(work: Callable[[], str], writer: int) -> None:
    answer = "-"
    try:
        answer = "+" + work()
    except OSError as error:
        answer = f"-{error.strerror}"
    finally:
        # On any exception, too: the exit handlers are the parent's.
        os.write(writer, answer.encode())
        os._exit(0)
