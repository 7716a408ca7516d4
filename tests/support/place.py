"""Cgroups, and files of runtimes, laid out as container runtimes do."""

import contextlib
import errno
import json
import os
import shutil
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tccap.host import cgroups

DOCKER = Path("/var/lib/docker/containers")
LOGS = Path("/var/log/pods")
KNOCK = b"is it known?"


def own(name: str) -> str:
    """Return a name, or the beginning of one, that only this run gives to anything.

    Tests that run beside this one, and the machine's own containers, have others.
    """
    return f"tccap-{os.getpid()}-{name}"


@contextlib.contextmanager
def cgroup(path: str) -> Iterator[Path]:
    """Yield the folder of a new cgroup; it and what it needed go at the end."""
    folder = Path(cgroups.opened(cgroups.find()).folder + path)
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        folder.rmdir()
        _remove_unused(made[1:])


@contextlib.contextmanager
def folder_with(file: Path, content: str) -> Iterator[None]:
    """Write a file in a new folder; it and the folders that it needed go at the end."""
    made = [each for each in file.parents if not each.exists()]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    try:
        yield
    finally:
        shutil.rmtree(file.parent)
        _remove_unused(each for each in made if each != file.parent)


def _remove_unused(folders: Iterable[Path]) -> None:
    """Remove folders; a test that runs beside this one may be using some."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EBUSY, errno.ENOENT):
                raise


@contextlib.contextmanager
def docker(container: str, name: str) -> Iterator[Path]:
    """Yield the cgroup of a container that Docker has, with cgroupfs as its driver."""
    config = json.dumps({"ID": container, "Name": f"/{name}", "Config": {}})
    file = DOCKER / container / "config.v2.json"
    with folder_with(file, config), cgroup(f"/docker/{container}") as folder:
        yield folder


def start(folder: Path, work: Callable[[], None]) -> int:
    """Do some work in a new process, in a cgroup from its beginning; return its pid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            (folder / "cgroup.procs").write_text("0")
            work()
            status = 0
        except Exception:  # noqa: BLE001  # the test fails by the status
            traceback.print_exc()
        finally:
            os._exit(status)
    return pid


def run(folder: Path, work: Callable[[], None]) -> None:
    """Do some work in such a process, to its end."""
    assert os.waitpid(start(folder, work), 0)[1] == 0, folder


def exchange(mark: bytes) -> None:
    """Connect to oneself, and send a mark both ways."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        with client, accepted:
            for sender, receiver in ((client, accepted), (accepted, client)):
                sender.sendall(mark)
                assert receiver.recv(100) == mark


def exchange_for_ever() -> None:
    """Exchange a mark of its own again and again, until SIGTERM comes.

    No connection is left without the mark then.
    """
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    while not ended:
        exchange(KNOCK)
        time.sleep(0.01)
