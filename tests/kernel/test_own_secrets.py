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

from support import netns, running
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

SIMILAR = ("dumpable", "set-user-id", "not readable")


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


@pytest.mark.parametrize(
    "label", [pytest.param("off", marks=pytest.mark.full_matrix), "short"]
)
@pytest.mark.parametrize(
    "title",
    [
        *(title for title in PROGRAMS if title not in SIMILAR),
        *(pytest.param(each, marks=pytest.mark.full_matrix) for each in SIMILAR),
    ],
)
def test_secrets_of_a_program(host: TlsHost, title: str, label: str) -> None:
    """Without kprobes, a capture with labels has probes that read the kernel by BTF."""
    is_own, program = PROGRAMS[title]
    assert _is_read(host, (*AS_MEMBER, *program), label) == is_own


def test_secrets_of_a_process_with_another_group(host: TlsHost) -> None:
    """As of a set-group-id program that has run another one with its group."""
    words = ("setpriv", f"--reuid={MEMBER}", f"--regid={ANOTHER}", "--clear-groups")
    assert not _is_read(host, (*words, "./plain", *FETCH))


def _is_read(host: TlsHost, program: tuple[str, ...], label: str = "off") -> bool:
    """Return whether a member's capture has secrets of a program, besides its own."""
    key_log = host.folder / "keys"
    key_log.unlink(missing_ok=True)
    identity = {"SUDO_UID": str(MEMBER), "SUDO_GID": str(MEMBER)}
    with (
        host.serving("python") as port,
        running.engine(
            host.space, "lo", env=identity, tls="own", label=label
        ) as engine,
    ):
        engine.wait_for('"tls_ready"')
        host.get(program, port, "asked")
        plain = (*AS_MEMBER, "./plain", *FETCH)
        host.get(plain, port, "control", SSLKEYLOGFILE=str(key_log))
        [control] = set(_SECRET.findall(key_log.read_bytes()))
        assert engine.output
        engine.output.wait_for(b"CLIENT_HANDSHAKE_TRAFFIC_SECRET " + control)
        engine.end()
        return bool(set(_SECRET.findall(engine.output.rest())) - {control})
