"""Programs that speak TLS with libraries that tccap does not read.

Each connects to a port of 127.0.0.1, prints "sent" when it has sent a ClientHello, and
then waits for the end of its input. One closes its connection before it prints.
"""

import subprocess
from pathlib import Path

from support import fetched, javaprograms

TLSLITE = {
    "tlslite-ng==0.8.2": (
        "bc17945ab48c7a2ecb16ae9d4b32cf976bfd67d7db74c0fedc093f9094e49ae5"
    ),
    "ecdsa==0.19.2": (
        "840f5dc5e375c68f36c1a7a5b9caad28f95daa65185c9253c0c08dd952bb7399"
    ),
    "six==1.17.0": "4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274",
}
SOURCES = Path(__file__).with_name("unread")
_LIBRARIES = {
    "mbedTLS": ("mbedtls", "mbedx509", "mbedcrypto"),
    "wolfSSL": ("wolfssl",),
    "BearSSL": ("bearssl",),
}
_PYTHON = """
import socket, sys
from tlslite import TLSConnection
connection = TLSConnection(socket.create_connection(("127.0.0.1", int(sys.argv[1]))))
connection.handshakeClientCert()
if sys.argv[2:]:
    connection.close()
print("sent", flush=True)
sys.stdin.read()
"""


def in_c(library: str, folder: Path, *, links_statically: bool) -> tuple[str, ...]:
    """Build a program with a library of Debian; return its command, without the port.

    Linked statically, it is stripped, too.
    """
    form = "-l:lib{}.a" if links_statically else "-l{}"
    libraries = [form.format(name) for name in _LIBRARIES[library]]
    program = str(folder / f"client-{library}-{links_statically}")
    source = str(SOURCES / f"{library}.c")
    command = ["gcc", "-o", program, source, *libraries, "-lm"]
    if links_statically and library != "BearSSL":  # which shows by its symbols alone
        command.append("-s")
    subprocess.run(command, check=True)
    return (program,)


def in_java() -> tuple[str, ...]:
    """Return the command of a program in Java, without the port."""
    return ("java", "-XX:TieredStopAtLevel=1", str(javaprograms.CLIENT))


def in_python(folder: Path) -> tuple[str, ...]:
    """Return the command of a program whose TLS is written in Python.

    With another argument behind the port, it closes its connection at once.
    """
    (folder / "client.py").write_text(_PYTHON)
    packages = fetched.wheels(TLSLITE)
    return ("env", f"PYTHONPATH={packages}", "/usr/bin/python3", f"{folder}/client.py")
