"""Starting the engine, and the one way to stop it: closing its stdin.

Root starts it directly. Others do so through sudo, by the rule that install.sh
makes for the group wireshark: one command without arguments. sudo passes stdin,
stdout and stderr through, and waits until the engine has ended.
"""

import contextlib
import grp
import os
import pwd
import subprocess
from typing import IO, NoReturn

from tccap.errors import TccapError
from tccap.paths import ENGINE, INSTALL, SCRIPT, engine_python

GROUP = "wireshark"  # Debian's name for those who may capture
SUDO = "/usr/bin/sudo"
# -I: no PYTHON* variables, no user site, no current directory.
_ARGUMENTS = ("-I", SCRIPT)


def start(stream_fd: int) -> "subprocess.Popen[bytes]":
    """Start the engine with ``stream_fd`` as its stdout.

    stdin takes the Plan; closing it ends the capture. stderr gives status lines.
    The engine leads a process group of its own, so that a Ctrl-C reaches only us.
    TccapError if this user may not capture.
    """
    return subprocess.Popen(
        _command(),
        stdin=subprocess.PIPE,
        stdout=stream_fd,
        stderr=subprocess.PIPE,
        process_group=0,
        env=_environment(),
    )


def need_right() -> None:
    """Raise TccapError if this user may not capture."""
    _command()


def sweep() -> None:
    """Let an engine remove what a killed one left in the kernel.

    TccapError if no engine can be started.
    """
    done = subprocess.run(
        _command(), input=b"", check=False, capture_output=True, env=_environment()
    )
    if done.returncode:
        raise TccapError(explain(done.stderr.decode(errors="replace")))


def explain(output: str) -> str:
    """Return why an engine that reported nothing did not start.

    ``output`` is its stderr: the words of sudo, or of Python.
    """
    reason = (output.strip().splitlines() or ["no reason given"])[-1]
    return (
        f"The capturing process did not start ({reason}): run sudo ./install.sh again."
    )


def restart(*arguments: str) -> NoReturn:
    """Run one of our commands with the engine's Python, in place of this process."""
    python = engine_python()
    os.execv(python, [python, *_ARGUMENTS, *arguments])  # noqa: S606  # no shell wanted


def send_plan(engine_stdin: IO[bytes], plan_json: str) -> None:
    """Write the Plan; an engine that has exited already says why on its stderr."""
    try:
        engine_stdin.write(plan_json.encode() + b"\n")
        engine_stdin.flush()
    except BrokenPipeError:
        with contextlib.suppress(BrokenPipeError):
            engine_stdin.close()  # and drop the buffered rest


def _command() -> list[str]:
    if os.geteuid() == 0:
        return [engine_python(), *_ARGUMENTS, "engine"]
    _need_group()
    return [SUDO, "-n", ENGINE]


def _need_group() -> None:
    """Raise TccapError if sudo would refuse, which it also reports to root."""
    if not os.access(SUDO, os.X_OK):
        raise TccapError(
            "Capturing needs root where there is no sudo: start tshark or Wireshark "
            "as root."
        )
    user = pwd.getpwuid(os.getuid())
    try:
        group = grp.getgrnam(GROUP)
    except KeyError:
        raise TccapError(
            f"There is no group {GROUP}, whose members may capture; install.sh makes "
            f"it where there is sudo: run sudo {INSTALL}."
        ) from None
    if group.gr_gid in (os.getegid(), *os.getgroups()):
        return
    if user.pw_name in group.gr_mem or user.pw_gid == group.gr_gid:
        raise TccapError(
            f"You joined the group {GROUP} after you had logged in: log out and in "
            "again."
        )
    raise TccapError(
        f"Only root and the group {GROUP} may capture: run "
        f"'sudo usermod -aG {GROUP} {user.pw_name}', then log out and in again."
    )


def _environment() -> dict[str, str]:
    kept = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    if os.geteuid() == 0 and "SUDO_UID" in os.environ:
        kept["TCCAP_BEHIND_ROOT"] = os.environ["SUDO_UID"]  # see access.py
    return kept
