"""--label full: more about a process than its pid, name and user."""

import os
import socket
import sys
import threading
from pathlib import Path

from support import netns, running
from tccap.host import programs
from truth import packets


def _send_until(stop: threading.Event, sock: socket.socket, tids: list[int]) -> None:
    tids.append(threading.get_native_id())
    while not stop.wait(0.05):
        sock.send(b"labelled")


def test_details_come_with_a_processs_packets(pair: netns.Pair) -> None:
    stop, tids = threading.Event(), list[int]()
    with pair.near.entered():
        sock = socket.socket(type=socket.SOCK_DGRAM)
    with sock, running.engine(pair.near, "veth0", label="full") as engine:
        sock.connect((pair.far_address, 9))
        thread = threading.Thread(target=_send_until, args=(stop, sock, tids))
        thread.start()
        try:
            assert engine.output
            engine.output.wait_for(b" exe=")
        finally:
            stop.set()
            thread.join()
        engine.end()
        labels = [p.label for p in packets.read(engine.output.rest()) if p.ends]
    detailed = [label for label in labels if "exe" in label]
    assert detailed
    for label in detailed:
        assert label["pid"] == str(os.getpid())
        assert label["ppid"] == str(os.getppid())
        assert label["uid"] == "0"
        assert label["user"] == "root"
        # pytest itself is a module of the interpreter (python -m pytest).
        assert label["name"] == programs.name(label["exe"], sys.orig_argv[1:])
        assert label["exe"] == str(Path("/proc/self/exe").readlink())
        assert label["args"].startswith(Path("/proc/self/cmdline").read_text()[:4])
    assert {label.get("tid") for label in detailed} == {str(tids[0])}
