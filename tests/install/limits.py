"""Runs in a machine, as root: ada captures with limits as small as sudo can bear.

Prints one JSON object: the limits of the engine, and how the capture ended.
"""

import json
import os
import signal
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from install import ending

SYS_RESOURCE = 24
SMALL = {
    "fsize": 0,
    "core": 1 << 30,
    "cpu": 20,
    "nofile": 64,
    "nproc": 50,
    "stack": 1 << 20,
    "data": 200 << 20,
    "as": 500 << 20,
    "memlock": 0,
    "rss": 0,
    "sigpending": 0,
    "msgqueue": 0,
    "rttime": 1000,
    "locks": 0,
    "nice": 0,
    "rtprio": 0,
}


def may_raise_hard_limits() -> bool:
    text = Path("/proc/self/status").read_text().split("CapEff:")[1].split()[0]
    return bool(int(text, 16) >> SYS_RESOURCE & 1)


def main() -> None:
    end = "" if may_raise_hard_limits() else ":"
    limits = [f"--{name}={value}{end}" for name, value in SMALL.items()]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        log, fifo = folder / "log", folder / "fifo"
        for path in (log, fifo):
            os.mkfifo(path)
            path.chmod(0o666)
        log_fd = os.open(log, os.O_RDWR)
        fifo_fd = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        front = ending.start(log, fifo, "prlimit", *limits)
        text = ending.read_until(log_fd, "ready")
        engine = ending.engines(front.pid)[0]
        seen = {
            "limits": Path(f"/proc/{engine}/limits").read_text(),
            "folder": str(Path(f"/proc/{engine}/cwd").readlink()),
            "log": text,
        }
        front.send_signal(signal.SIGTERM)
        ending.read_all(fifo_fd)
        seen["stderr"] = front.communicate(timeout=ending.DEADLINE_S)[1]
        seen["status"] = str(front.returncode)
    sys.stdout.write(json.dumps(seen))


if __name__ == "__main__":
    main()
