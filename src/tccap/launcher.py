"""Starting the engine, and the one way to stop it: closing its stdin."""

import os
import subprocess
from typing import IO, NoReturn

from tccap.errors import TccapError
from tccap.paths import SCRIPT, engine_python

# -I: no PYTHON* variables, no user site, no current directory.
_ARGUMENTS = ("-I", SCRIPT)


def start(stream_fd: int) -> "subprocess.Popen[bytes]":
    """Start the engine with ``stream_fd`` as its stdout.

    stdin takes the Plan and then stays open for as long as the capture shall
    last; stderr gives status lines. The engine leads a process group of its
    own, so that a Ctrl-C reaches only us.
    """
    return subprocess.Popen(
        _command("engine"),
        stdin=subprocess.PIPE,
        stdout=stream_fd,
        stderr=subprocess.PIPE,
        process_group=0,
        env=_environment(),
    )


def sweep() -> None:
    """Let an engine remove what a killed one has left in the kernel."""
    if os.geteuid() == 0:
        subprocess.run(_command("sweep"), check=False, env=_environment())


def restart(verb: str) -> NoReturn:
    """Run a verb of ours with the engine's Python, in place of this process."""
    python = engine_python()
    os.execv(python, [python, *_ARGUMENTS, verb])  # noqa: S606  # no shell wanted


def send_plan(engine_stdin: IO[bytes], plan_json: str) -> None:
    """Write the Plan; an engine that is gone already says why on its stderr."""
    try:
        engine_stdin.write(plan_json.encode() + b"\n")
        engine_stdin.flush()
    except BrokenPipeError:
        return


def _command(verb: str) -> list[str]:
    if os.geteuid() != 0:
        raise TccapError(
            "Capturing needs root for now: start tshark or Wireshark with sudo."
        )
    return [engine_python(), *_ARGUMENTS, verb]


def _environment() -> dict[str, str]:
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
