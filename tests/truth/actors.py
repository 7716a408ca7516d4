"""Processes that act one step at a time.

What a process does is a generator: it runs up to the next ``yield`` when the
director says so. So the order of events across processes is fixed, without
sleeping.
"""

import ctypes
import os
import pickle
import socket
import sys
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn

PR_SET_NAME = 15
Script = Iterator[Any]
_libc = ctypes.CDLL(None, use_errno=True)
_everyone: "list[Actor]" = []


class Actor:
    """A forked process that plays a script."""

    def __init__(self, script: Script, comm: bytes = b"") -> None:
        self._control, other = socket.socketpair()
        self.pid = os.fork()
        if not self.pid:
            self._control.close()
            if comm:
                rename(comm)
            _play(other, script)
        other.close()
        self.ended = False
        _everyone.append(self)

    def step(self) -> Any:
        """Let it run to its next pause; return what it yields there.

        None when it has ended, or become another program.
        """
        self.start()
        return self.wait()

    def start(self) -> None:
        """Let it run, without waiting for the pause."""
        self._control.send(b"x")

    def wait(self) -> Any:
        """Return when it pauses."""
        try:
            answer = self._control.recv(1 << 16)
        except ConnectionResetError:
            answer = b""
        if not answer:
            self.join()
            return None
        said, value = pickle.loads(answer)
        if said == "failed":
            self.join()
            raise AssertionError(f"process {self.pid}: {value}")
        return value

    def join(self) -> None:
        """Return when the process is gone."""
        if not self.ended:
            os.waitpid(self.pid, 0)
            self.ended = True
            self._control.close()
            _everyone.remove(self)

    def kill(self) -> None:
        """End the process as it is."""
        if not self.ended:
            os.kill(self.pid, 9)
            self.join()


def end_this_thread() -> None:
    """End the current thread alone, as pthread_exit(3) does, without Python's leave."""
    _libc.syscall({"x86_64": 60, "aarch64": 93}[os.uname().machine], 0)


def alternate(*actors: Actor) -> None:
    """Let each run a step in turn, until all have ended."""
    while any(not actor.ended for actor in actors):
        for actor in actors:
            if not actor.ended:
                actor.step()


def kill_all() -> None:
    """End all processes that a case has left."""
    for actor in _everyone:
        actor.kill()


def rename(comm: bytes) -> None:
    """Give this process a name of any bytes."""
    assert _libc.prctl(PR_SET_NAME, comm, 0, 0, 0) == 0


def _play(control: socket.socket, script: Script) -> NoReturn:
    try:
        while control.recv(1):
            try:
                said = ("paused", next(script))
            except StopIteration:
                break
            control.send(pickle.dumps(said))
    except BaseException:  # noqa: BLE001  # the director reports it
        control.send(pickle.dumps(("failed", traceback.format_exc())))
    finally:
        sys.stdout.flush()
        os._exit(0)
