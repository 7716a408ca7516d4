"""A real sshd in a network namespace, and the real ssh for it.

Both have configurations of their own and read none of the machine's. Whoever logs in
is root, by a key, and finds ``tccap`` of this checkout in the path.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from support import running
from support.netns import Namespace
from tccap.paths import SCRIPT

PROGRAM = "/usr/sbin/sshd"
PORT = 22  # of the namespace, where no other sshd is
_PRIVILEGE_SEPARATION = Path("/run/sshd")
_SERVER = """
Port {port}
ListenAddress {address}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PidFile none
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
PrintMotd no
PrintLastLog no
SetEnv PATH={path}
"""
_CLIENT = """
Host *
HostName {address}
Port {port}
User root
IdentityFile {folder}/key
IdentitiesOnly yes
StrictHostKeyChecking no
UserKnownHostsFile /dev/null
GlobalKnownHostsFile /dev/null
LogLevel ERROR
"""


class Host(NamedTuple):
    """A machine that answers ssh, under any name that ``ssh`` is given."""

    space: Namespace
    address: str
    folder: Path
    pid: int  # of the sshd that listens
    messages: running.Collector

    @property
    def key(self) -> Path:
        """The file with root's private key."""
        return self.folder / "key"

    @property
    def ssh(self) -> tuple[str, ...]:
        """The command, to which a host and a command for it are added."""
        return ("ssh", "-F", str(self.folder / "client"))

    def reload(self) -> None:
        """Have it start again, once, with the same pid; logins stay."""
        os.kill(self.pid, signal.SIGHUP)
        self.messages.wait_for(b"restarting.\r\nServer listening on")


@contextlib.contextmanager
def host(
    space: Namespace, address: str, folder: Path, prefix: tuple[str, ...] = ()
) -> Iterator[Host]:
    """Yield a namespace in which sshd listens; ``folder`` is for its files.

    ``prefix`` runs the command.
    """
    commands = folder / "commands"
    commands.mkdir()
    (commands / "tccap").symlink_to(SCRIPT)
    values = {
        "address": address,
        "folder": folder,
        "port": PORT,
        "path": f"{commands}:/usr/sbin:/usr/bin:/sbin:/bin",
    }
    (folder / "server").write_text(_SERVER.format(**values))
    (folder / "client").write_text(_CLIENT.format(**values))
    for name in ("host_key", "key"):
        make = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name)
        subprocess.run(make, check=True)
    _PRIVILEGE_SEPARATION.mkdir(exist_ok=True)
    # -D: in the foreground; -e: messages on stderr.
    server = (PROGRAM, "-D", "-e", "-f", f"{folder}/server")
    command = space.command(*prefix, *server)
    with running.started(command) as process:
        assert process.stderr
        messages = running.Collector(process.stderr)
        messages.wait_for(b"Server listening on")
        yield Host(space, address, folder, process.pid, messages)
