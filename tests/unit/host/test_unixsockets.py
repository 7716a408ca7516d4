"""Names of sockets and who made them."""

import os
import secrets
import socket
import subprocess
import sys

import pytest

from tccap.host import unixsockets

NAME = f"\0tccap-test:{secrets.token_hex(8)}"


def owners(name: str) -> list[int | None]:
    return [uid for found, uid in unixsockets.named() if found == name.encode()]


@pytest.fixture
def bound() -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.bind(NAME)
    return made


def test_an_abstract_name_has_its_owner(bound: socket.socket) -> None:
    with bound:
        assert owners(NAME) == [os.getuid()]
    assert owners(NAME) == []


def test_many_sockets_are_all_named() -> None:
    made = [socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(900)]
    for n, one in enumerate(made):
        one.bind(f"{NAME}:{n}")
    names = {name for name, _uid in unixsockets.named()}
    assert {f"{NAME}:{n}".encode() for n in range(900)} <= names
    for one in made:
        one.close()


def test_without_sock_diag_names_have_no_owner(
    bound: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unixsockets, "_NETLINK_SOCK_DIAG", 99)
    with bound:
        assert owners(NAME) == [None]


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_another_users_socket_is_not_roots() -> None:
    script = (
        "import os, socket, sys; os.setuid(65534);"
        "one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM);"
        "one.bind('\\0' + sys.argv[1]); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, NAME[1:]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert owners(NAME) == [65534]
        process.communicate()
