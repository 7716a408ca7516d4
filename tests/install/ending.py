"""Runs in a machine, as root: ends ada's capture in one way and reports its processes.

``ending.py WAY``; prints one JSON object.
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

EXTCAP = "/usr/local/lib/tccap/extcap/tccap.py"
ADA: tuple[str, ...] = ("setpriv", "--reuid=ada", "--regid=ada", "--init-groups")
DEADLINE_S = float(os.environ["TCCAP_DEADLINE_S"])


def main() -> None:
    way = sys.argv[1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        log, fifo = folder / "log", folder / "fifo"
        for path in (log, fifo):
            os.mkfifo(path)
            path.chmod(0o666)
        # So that neither ends while its writer changes.
        log_fd = os.open(log, os.O_RDWR)
        fifo_fd = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        front = start(log, fifo)
        text = read_until(log_fd, "ready")
        sudo, *_ = descendants(front.pid)
        engine, carrier = engines(front.pid)
        seen = {
            "user of the front": Path(f"/proc/{front.pid}").stat().st_uid,
            "user of the engine": uid(engine),
            "sudo waits": Path(f"/proc/{sudo}/comm").read_text() == "sudo\n",
            "user of the carrier": uid(carrier),
            "writes by itself": Path(f"/proc/{carrier}/fd/1").readlink() == fifo,
            "caller": environment(engine).get("SUDO_UID"),
            "environment": sorted(environment(engine)),
        }
        pids = (front.pid, sudo, engine, carrier)
        family = [os.pidfd_open(pid) for pid in pids]
        fifo_fd = end(way, front, sudo, engine, fifo_fd)
        stream = read_all(fifo_fd) if way != "reader" else b""
        stderr = front.communicate(timeout=DEADLINE_S)[1]
        seen["left"] = [n for n, fd in enumerate(family) if not ended(fd)]
        seen["status"], seen["stderr"] = front.returncode, stderr
        seen["stream"] = stream[:4].hex()
        seen["last"] = stream[-4:].hex()
        seen["log"] = text
    sys.stdout.write(json.dumps(seen))


def start(log: Path, fifo: Path, *prefix: str) -> "subprocess.Popen[str]":
    arguments = ("--capture", "--extcap-interface", "tccap-lo", "--fifo", str(fifo))
    verbose = ("--log-file", str(log), "--log-level", "debug")
    return subprocess.Popen(
        [*ADA, *prefix, EXTCAP, *arguments, *verbose],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": "/evil", "SUDO_UID": "0"},
    )


def end(
    way: str, front: "subprocess.Popen[str]", sudo: int, engine: int, fifo_fd: int
) -> int:
    if way == "reader":
        os.close(fifo_fd)
        subprocess.run(["/usr/bin/python3", "-Ic", PACKET], check=True)
    elif way == "sudo":
        os.kill(sudo, signal.SIGKILL)
        front.terminate()
    else:
        victims = {"stop": front.pid, "front": front.pid, "engine": engine}
        number = signal.SIGTERM if way == "stop" else signal.SIGKILL
        os.kill(victims[way], number)
    return fifo_fd


PACKET = """
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9))
"""


def read_until(fd: int, word: str) -> str:
    text = ""
    while word not in text:
        assert select.select([fd], [], [], DEADLINE_S)[0], text
        text += os.read(fd, 1 << 16).decode()
    return text


def read_all(fd: int) -> bytes:
    os.set_blocking(fd, True)
    data = b""
    while more := os.read(fd, 1 << 16):
        data += more
    return data


def descendants(pid: int) -> list[int]:
    def children(parent: int) -> Iterator[int]:
        path = Path(f"/proc/{parent}/task/{parent}/children")
        for child in map(int, path.read_text().split()):
            yield child
            yield from children(child)

    return list(children(pid))


def engines(front: int) -> list[int]:
    """Return the engine of a front, and its carrier."""
    return [pid for pid in descendants(front) if arguments(pid)[-1:] == ["engine"]]


def arguments(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]


def uid(pid: int) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("Uid:"))


def environment(pid: int) -> dict[str, str]:
    text = Path(f"/proc/{pid}/environ").read_text()
    return dict(item.split("=", 1) for item in text.split("\0") if item)


def ended(pidfd: int) -> bool:
    return bool(select.select([pidfd], [], [], DEADLINE_S)[0])


if __name__ == "__main__":
    main()
