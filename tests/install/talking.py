"""Captures, with tshark, packets that this process sends to itself, until tshark ends.

Arguments: tshark's, beside the interface and the filter.
"""

import contextlib
import socket
import subprocess
import sys

PAUSE_S = 0.05

server = socket.create_server(("127.0.0.1", 0))
address = server.getsockname()
client = socket.create_connection(address)
far, _ = server.accept()
capture = ("tshark", "-i", "tccap-lo", "-f", f"tcp port {address[1]}")
with subprocess.Popen([*capture, *sys.argv[1:]]) as tshark:
    while tshark.poll() is None:
        client.send(b"said")
        far.recv(4)
        with contextlib.suppress(subprocess.TimeoutExpired):
            tshark.wait(PAUSE_S)
sys.exit(tshark.returncode)
