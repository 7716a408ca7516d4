"""Processes that run one step at a time.

A worker runs a script: a generator, which goes on to its next ``yield`` when the
case says so. This fixes the order of events across processes without sleeping.
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
CLONE_NEWUSER = 0x10000000  # include/uapi/linux/sched.h
Script = Iterator[Any]
_libc = ctypes.CDLL(None, use_errno=True)
_all: "list[Worker]" = []


class Worker:
    """A forked process that runs a script."""

    def __init__(self, script: Script, comm: bytes = b"") -> None:
        self._control, other = socket.socketpair()
        self.pid = os.fork()
        if not self.pid:
            self._control.close()
            if comm:
                rename(comm)
            _run(other, script)
        other.close()
        self.ended = False
        _all.append(self)

    def step(self) -> Any:
        """Let it run to its next pause; return the value that it yields there.

        None if it has ended, or has executed another program.
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
        state, value = pickle.loads(answer)
        if state == "failed":
            self.join()
            raise AssertionError(f"process {self.pid}: {value}")
        return value

    def fileno(self) -> int:
        """Return what is readable when it has paused, for select(2)."""
        return self._control.fileno()

    def join(self) -> None:
        """Return when the process is gone."""
        if not self.ended:
            os.waitpid(self.pid, 0)
            self.ended = True
            self._control.close()
            _all.remove(self)

    def kill(self) -> None:
        """Kill the process, at whatever step it is."""
        if not self.ended:
            os.kill(self.pid, 9)
            self.join()


def end_this_thread() -> None:
    """End only the current thread, as pthread_exit(3) does, behind Python's back."""
    _libc.syscall({"x86_64": 60, "aarch64": 93}[os.uname().machine], 0)


def set_thread_users(user: int) -> None:
    """Set the effective user of this thread alone."""
    number = {"x86_64": 117, "aarch64": 147}[os.uname().machine]  # setresuid
    assert _libc.syscall(number, -1, user, -1) == 0


def set_thread_filesystem_user(user: int) -> None:
    """Set the user for files of this thread alone."""
    _libc.syscall({"x86_64": 122, "aarch64": 151}[os.uname().machine], user)


def enter_user_namespace() -> bool:
    """Move to a new user namespace, without users; return whether that is allowed."""
    return bool(_libc.unshare(CLONE_NEWUSER) == 0)


def alternate(*workers: Worker) -> None:
    """Let each run a step in turn, until all have ended."""
    while any(not worker.ended for worker in workers):
        for worker in workers:
            if not worker.ended:
                worker.step()


def kill_all() -> None:
    """Kill all workers that are left."""
    for worker in [*_all]:  # each leaves the list when it ends
        worker.kill()


def rename(comm: bytes) -> None:
    """Give this process a name of any bytes."""
    assert _libc.prctl(PR_SET_NAME, comm, 0, 0, 0) == 0


def _run(control: socket.socket, script: Script) -> NoReturn:
    try:
        while control.recv(1):
            try:
                answer = ("paused", next(script))
            except StopIteration:
                break
            control.send(pickle.dumps(answer))
    except BaseException:  # noqa: BLE001  # `wait` raises it in the parent
        control.send(pickle.dumps(("failed", traceback.format_exc())))
    finally:
        sys.stdout.flush()
        os._exit(0)
