"""Real programs that make TLS connections and log their secrets by themselves."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BOTH_ENDS = """
import ssl, sys
version, certificate, log = sys.argv[1:]
ends = []
for side in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER):
    context = ssl.SSLContext(side)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    if log:
        context.keylog_filename = log
    if side == ssl.PROTOCOL_TLS_SERVER:
        context.load_cert_chain(certificate)
    else:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    pipes = ssl.MemoryBIO(), ssl.MemoryBIO()
    is_server = side == ssl.PROTOCOL_TLS_SERVER
    ends.append((context.wrap_bio(*pipes, server_side=is_server), *pipes))
unfinished = [0, 1]
while unfinished:
    for n in list(unfinished):
        try:
            ends[n][0].do_handshake()
            unfinished.remove(n)
        except ssl.SSLWantReadError:
            pass
        ends[1 - n][1].write(ends[n][2].read())
"""

GO_PROGRAM = """
package main

import (
	"crypto/tls"
	"net"
	"os"
)

func main() {
	certificate, err := tls.LoadX509KeyPair(os.Args[1], os.Args[1])
	if err != nil {
		panic(err)
	}
	log, err := os.Create(os.Args[2])
	if err != nil {
		panic(err)
	}
	near, far := net.Pipe()
	version := map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}
	server := tls.Server(far, &tls.Config{
		Certificates:           []tls.Certificate{certificate},
		SessionTicketsDisabled: true, // nobody reads them from the pipe
		MaxVersion:             version[os.Args[3]],
	})
	client := tls.Client(near, &tls.Config{InsecureSkipVerify: true, KeyLogWriter: log})
	go server.Handshake()
	if err := client.Handshake(); err != nil {
		panic(err)
	}
}
"""


def certificate(folder: Path) -> Path:
    """Make a key and a certificate, in one file."""
    made = folder / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"),
            *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-keyout", made, "-out", folder / "public.pem"),
        ],
        check=True,
        capture_output=True,
    )
    made.write_text(made.read_text() + (folder / "public.pem").read_text())
    return made


def run(*command: str | Path, log: Path | None = None) -> int:
    """Run a program to its end, with a key log if ``log`` is given; return its pid."""
    environment = {"PATH": os.environ["PATH"]}
    environment |= {"SSLKEYLOGFILE": str(log)} if log else {}
    with subprocess.Popen(command, env=environment) as process:
        assert process.wait() == 0
    return process.pid


def openssl_handshake(version: str, certificate: Path, log: Path | None) -> int:
    """Run both ends of a handshake in the distribution's Python, with its libssl."""
    arguments = [version, str(certificate), str(log or "")]
    return run("/usr/bin/python3", "-Ic", _BOTH_ENDS, *arguments)


def gnutls_download(certificate: Path, port: int, log: Path) -> int:
    """Run wget, which uses GnuTLS, on a page of openssl's server."""
    with _openssl_server(certificate, port):
        return run(
            *("wget", "--no-config", "--no-check-certificate", "-q", "-O/dev/null"),
            *("--tries=1", f"https://127.0.0.1:{port}/"),
            log=log,
        )


def nss_downloads(version: str, certificate: Path, port: int, log: Path) -> int:
    """Run NSS's test client on pages of openssl's server, which logs.

    Later connections resume the session of the first one, if they can.
    """
    request = log.with_suffix(".request")
    request.write_bytes(b"GET / HTTP/1.0\r\n\r\n")
    with _openssl_server(certificate, port, "-keylogfile", str(log)):
        return run(
            *("tstclnt", "-D", "-o", "-h", "127.0.0.1", "-p", str(port)),
            *("-V", f"tls{version}:tls{version}", "-A", request, "-L", "3", "-u"),
        )


@contextmanager
def _openssl_server(certificate: Path, port: int, *more: str) -> Iterator[None]:
    server = subprocess.Popen(
        [
            *("openssl", "s_server", "-www", "-cert", str(certificate)),
            *("-accept", str(port), *more),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert server.stdout
    try:
        while server.stdout.readline() != b"ACCEPT\n":
            assert server.poll() is None
        yield
    finally:
        server.kill()
        server.stdout.close()
        server.wait()


def go_program(folder: Path) -> Path:
    """Build a stripped Go program with both ends of a handshake, which it logs."""
    (folder / "main.go").write_text(GO_PROGRAM)
    program = folder / "program"
    subprocess.run(
        ["go", "build", "-ldflags", "-s -w", "-o", program, "main.go"],
        check=True,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "GO111MODULE": "off"},
    )
    return program


def guarded_program(folder: Path) -> Path:
    """Build a stripped program whose callers test for the callback."""
    program = folder / "guarded"
    source = Path(__file__).with_name("guarded.c")
    subprocess.run(["gcc", "-O2", "-s", "-o", program, source], check=True)
    return program


def exporting_library(folder: Path) -> tuple[Path, Path]:
    """Build a program, and its library that exports its log function.

    The library calls that by its name, through a PLT entry.
    """
    program, library = folder / "program", folder / "libexporting.so"
    source = Path(__file__).with_name("guarded.c")
    options = ("-O2", "-s", "-shared", "-fPIC", "-DEXPORTED")
    subprocess.run(["gcc", *options, "-o", library, source], check=True)
    path = f"-Wl,-rpath,{folder}"
    subprocess.run(["gcc", "-o", program, library, path], check=True)
    return program, library


def logged(log: Path) -> set[str]:
    """Return the lines of a key log, without comments."""
    lines = log.read_text(encoding="ascii").splitlines()
    return {line for line in lines if line and not line.startswith("#")}
