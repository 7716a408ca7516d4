"""Whose secrets a member of the group gets: of processes that the member may trace.

The engine is the real one, with the identity that sudo would give it.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import netns, running, stream
from support.tls import TlsHost

MEMBER, ANOTHER = 4711, 4712  # user and group ids
# By env, as setpriv itself still has root's capabilities when it runs a program.
AS_MEMBER = (
    *("setpriv", f"--reuid={MEMBER}", f"--regid={MEMBER}", "--clear-groups"),
    "env",
)
FETCH = ("-sk", "{URL}")
_NOT_DUMPABLE = (
    "import ctypes, ssl, urllib.request as r;"
    "ctypes.CDLL(None).prctl(4, 0);"  # PR_SET_DUMPABLE
    "c = ssl._create_unverified_context(); print(r.urlopen('{URL}', context=c).read())"
)
_DUMPABLE = _NOT_DUMPABLE.replace("prctl(4, 0)", "prctl(4, 1)")
_SECRET = re.compile(rb"CLIENT_HANDSHAKE_TRAFFIC_SECRET ([0-9a-f]{64}) ")
# A ClientHello in its record; the group is the client random (RFC 8446, section 4.1.2).
_HELLO = re.compile(rb"\x16\x03\x01..\x01...\x03\x03(.{32})", re.DOTALL)

# Programs of the member, and whether their secrets are the member's to see.
PROGRAMS: dict[str, tuple[bool, tuple[str, ...]]] = {
    "plain": (True, ("./plain", *FETCH)),
    "dumpable": (True, ("/usr/bin/python3", "-c", _DUMPABLE)),
    "in a user namespace of the member": (True, ("unshare", "-Ur", "./plain", *FETCH)),
    "set-group-id": (False, ("./setgid", *FETCH)),
    "set-user-id": (False, ("./setuid", *FETCH)),
    "with a file capability": (False, ("./capable", *FETCH)),
    "not readable": (False, ("./unreadable", *FETCH)),
    "not dumpable": (False, ("/usr/bin/python3", "-c", _NOT_DUMPABLE)),
}
# As of a set-group-id program that has run another one with its group.
WITH_ANOTHER_GROUP = tuple(
    f"--regid={ANOTHER}" if word == f"--regid={MEMBER}" else word for word in AS_MEMBER
)
COMMANDS = {
    **{title: (*AS_MEMBER, *program) for title, (_, program) in PROGRAMS.items()},
    "with another group": (*WITH_ANOTHER_GROUP, "./plain", *FETCH),
}
READ = {title for title, (is_own, _) in PROGRAMS.items() if is_own}


@pytest.fixture(scope="module")
def host() -> Iterator[TlsHost]:
    """Return a host whose folder has copies of curl with more rights."""
    with (
        tempfile.TemporaryDirectory(prefix="tccap-test-") as name,
        netns.namespace() as space,
    ):
        folder = Path(name)
        folder.chmod(0o777)
        _install(folder / "plain", MEMBER, MEMBER, 0o755)
        _install(folder / "setgid", 0, ANOTHER, 0o2755)
        _install(folder / "setuid", ANOTHER, 0, 0o4755)
        _install(folder / "unreadable", 0, 0, 0o711)
        _install(folder / "capable", 0, 0, 0o755)
        subprocess.run(["setcap", "cap_net_raw+ep", folder / "capable"], check=True)
        yield TlsHost(space, folder)


def _install(path: Path, uid: int, gid: int, mode: int) -> None:
    shutil.copy("/usr/bin/curl", path)
    os.chown(path, uid, gid)
    path.chmod(mode)


@pytest.fixture(
    scope="module",
    params=[pytest.param("off", marks=pytest.mark.full_matrix), "short"],
)
def read(host: TlsHost, request: pytest.FixtureRequest) -> set[str]:
    """Return the programs of which a member's capture has secrets.

    Without kprobes, a capture with labels has probes that read the kernel by BTF.
    """
    identity = {"SUDO_UID": str(MEMBER), "SUDO_GID": str(MEMBER)}
    label = request.param
    with (
        host.serving("python") as port,
        running.engine(
            host.space, "lo", env=identity, tls="own", label=label
        ) as engine,
    ):
        engine.wait_for('"tls_ready"')
        for command in COMMANDS.values():
            host.get(command, port, "asked")
        control = _get_with_key_log(host, port)
        assert engine.output
        engine.output.wait_for(b"CLIENT_HANDSHAKE_TRAFFIC_SECRET " + control)
        found = engine.stop()
        secrets = set(_SECRET.findall(engine.output.rest()))
    randoms = _client_randoms(found)
    assert len(randoms) == len(COMMANDS) + 1
    assert randoms[-1] == control
    return {
        title for title, each in zip(COMMANDS, randoms, strict=False) if each in secrets
    }


def _get_with_key_log(host: TlsHost, port: int) -> bytes:
    """Fetch a page with a program whose secrets are read; return its client random."""
    key_log = host.folder / "keys"
    key_log.unlink(missing_ok=True)
    plain = (*AS_MEMBER, "./plain", *FETCH)
    host.get(plain, port, "control", SSLKEYLOGFILE=str(key_log))
    [control] = set(_SECRET.findall(key_log.read_bytes()))
    return bytes(control)


def _client_randoms(found: stream.Stream) -> list[bytes]:
    """Return the client random of each connection, in their order, in hex."""
    hellos = [hello for frame in found.frames for hello in _HELLO.findall(frame.data)]
    return [random.hex().encode() for random in dict.fromkeys(hellos)]


@pytest.mark.parametrize("title", COMMANDS)
def test_secrets_of_a_program(read: set[str], title: str) -> None:
    assert (title in read) == (title in READ)
