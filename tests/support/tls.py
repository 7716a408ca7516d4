"""Servers that speak TLS, and programs that fetch pages from them."""

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from support import running, tlsclients
from support.netns import PORTS_OF_NO_PROTOCOL, Namespace
from support.tlsclients import CLIENTS, NOBODY

ADDRESS = "127.0.0.1"
HTTPS, GRPC = (Path(__file__).with_name(name) for name in ("https.py", "grpcs.py"))
PAGE = b"the body"
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

_PREFIXES = {"python": (), "python as nobody": NOBODY}
RUSTLS_SERVERS = ("granian", "deno")
_DENO_SERVER = """
Deno.serve({{hostname: '{}', port: {}, key: Deno.readTextFileSync('{}'),
            cert: Deno.readTextFileSync('{}')}}, () => new Response('the body'));
"""
_APPLICATION = """
def application(request, start_response):
    start_response("200 OK", [("Content-Length", "8")])
    return [b"the body"]
"""


class Staying(NamedTuple):
    """A running program that fetches pages."""

    program: str
    process: "subprocess.Popen[bytes]"

    def load(self) -> None:
        """Make it load its TLS library, unless it has."""
        self._write("")

    def fetch(self, port: int, name: str) -> None:
        """Make it fetch a page; does not wait for the page."""
        self._write(_url(port, name))

    def _write(self, url: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(tlsclients.order(self.program, url).encode())
        self.process.stdin.flush()


class TlsHost:
    """A namespace with a certificate, in which TLS servers and clients are started."""

    def __init__(self, space: Namespace, folder: Path) -> None:
        self.space = space
        space.connect_from(PORTS_OF_NO_PROTOCOL)
        self.folder = folder
        self.certificate = folder / "certificate.pem"
        self._ports = iter(range(4433, 65536))
        # Unlike the checkout, the folder is readable for every user.
        for script in (HTTPS, GRPC):
            (self.folder / script.name).write_text(script.read_text())
        new = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9")
        files = ("-keyout", str(self.certificate), "-out", str(self.folder / "cert"))
        names = ("-subj", f"/CN={ADDRESS}", "-addext", f"subjectAltName=IP:{ADDRESS}")
        subprocess.run([*new, *files, *names], check=True, capture_output=True)
        with self.certificate.open("a") as file:
            file.write((self.folder / "cert").read_text())
        self.certificate.chmod(0o644)

    def program(self, name: str) -> str:
        """Make a program ready to run; return the file that holds its TLS library."""
        return str(Path(tlsclients.provide(name, self.folder)).resolve())

    def free_port(self) -> int:
        """Return a port that nobody uses."""
        return next(self._ports)

    def another(self, program: str, name: str) -> str:
        """Make a build of a program that nobody has inspected; return its path."""
        own = self.folder / name
        own.write_bytes(Path(self.program(program)).read_bytes() + os.urandom(16))
        own.chmod(0o755)
        return str(own)

    @contextlib.contextmanager
    def serving(self, server: str, *, version: str = "1.3") -> Iterator[int]:
        """Yield the port of a server that accepts connections."""
        port = next(self._ports)
        command = self.space.command(*self._server(server, port, version))
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.folder
        ) as process:
            try:
                running.until(
                    lambda: process.poll() is not None or self._accepts(port),
                    f"{server} on {port}",
                )
                assert process.poll() is None, process.communicate()
                yield port
            finally:
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=running.DEADLINE_S)

    def get(
        self,
        client: tuple[str, ...],
        port: int,
        name: str,
        *,
        given: str = "GET /{NAME} HTTP/1.0\r\n\r\n",
        **env: str,
    ) -> None:
        """Run a client that fetches a page; ``given`` is its stdin."""
        words = {"URL": _url(port, name), "NAME": name}
        words |= {"PORT": str(port), "ADDRESS": ADDRESS}
        done = subprocess.run(
            self.space.command(*(_filled_in(word, words) for word in client)),
            check=False,
            input=_filled_in(given, words).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env={"PATH": PATH, **env},
            timeout=running.DEADLINE_S,
        )
        # Not its status: some clients fail on the way that some servers close.
        assert PAGE in done.stdout, done.stdout.decode(errors="replace")

    def fetch(self, program: str, port: int, name: str) -> None:
        """Run a program of CLIENTS or STAYING that fetches one page."""
        if program in CLIENTS:
            self.get(CLIENTS[program], port, name)
        else:
            self.get(tlsclients.STAYING[program], port, name, given="{URL}\n")

    @contextlib.contextmanager
    def staying(self, program: str, *command: str) -> Iterator[Staying]:
        """Yield a running program that fetches pages on request.

        The command is that of another build of it.
        """
        with subprocess.Popen(
            self.space.command(*(command or tlsclients.STAYING[program])),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            env={"PATH": PATH},
        ) as process:
            try:
                yield Staying(program, process)
            finally:
                process.kill()

    def _server(self, server: str, port: int, version: str) -> list[str]:
        python = ["/usr/bin/python3", "https.py", ADDRESS, str(port)]
        ours = [*python, str(self.certificate), version]
        if server in ("python", "python as nobody", *tlsclients.LINKED_AS_ONE):
            return [*_PREFIXES.get(server, ("env", f"LD_LIBRARY_PATH={server}")), *ours]
        if server == "selfserv":
            database = self._nss_database()
            versions = f"tls{version}:tls{version}"
            ours = ["-d", str(database), "-n", "server", "-p", str(port)]
            return ["selfserv", *ours, "-V", versions]
        if server == "grpc":
            files = (str(self.certificate), str(self.folder / "cert"))
            path = "PYTHONPATH=grpc"
            python = ["env", path, "/usr/bin/python3", GRPC.name]
            return [*NOBODY, *python, f"{ADDRESS}:{port}", *files]
        if server in RUSTLS_SERVERS:
            return self._rustls_server(server, str(port))
        nginx = ["nginx", "-c", str(self._nginx_configuration(port, version))]
        return [*NOBODY, *nginx] if server == "nginx as nobody" else nginx

    def _rustls_server(self, server: str, port: str) -> list[str]:
        if server == "deno":
            files = (str(self.certificate), str(self.folder / "cert"))
            code = _DENO_SERVER.format(ADDRESS, port, *files)
            return ["env", "DENO_DIR=deno-cache", "deno/bin/deno", "eval", code]
        (self.folder / "served.py").write_text(_APPLICATION)
        command = ["env", "PYTHONPATH=granian", "/usr/bin/python3", "-m", "granian"]
        command += ["--interface", "wsgi", "--host", ADDRESS, "--port", port]
        command += ["--ssl-certificate", "cert", "--ssl-keyfile", self.certificate.name]
        command += ["--ssl-protocol-min", "tls1.2"]
        return [*command, "served:application"]

    def _nss_database(self) -> Path:
        """Return the folder of an NSS database with the certificate."""
        folder = self.folder / "nss"
        if not folder.exists():
            folder.mkdir()
            package = str(folder / "package")
            to_package = ("openssl", "pkcs12", "-export", "-in", str(self.certificate))
            for command in (
                ("certutil", "-N", "--empty-password", "-d", str(folder)),
                (*to_package, "-name", "server", "-passout", "pass:", "-out", package),
                ("pk12util", "-i", package, "-d", str(folder), "-W", "", "-K", ""),
            ):
                subprocess.run(command, check=True, capture_output=True)
        return folder

    def _nginx_configuration(self, port: int, version: str) -> Path:
        own = self.folder / f"nginx-{port}"
        own.mkdir()
        own.chmod(0o777)
        file = own / "configuration"
        file.write_text(
            f"""
            daemon off; master_process off; pid {own}/pid; error_log stderr;
            events {{ }}
            http {{
                access_log off;
                client_body_temp_path {own}; proxy_temp_path {own};
                fastcgi_temp_path {own}; uwsgi_temp_path {own};
                scgi_temp_path {own};
                server {{
                    listen {ADDRESS}:{port} ssl http2;
                    ssl_certificate {self.certificate};
                    ssl_certificate_key {self.certificate};
                    ssl_protocols TLSv{version};
                    add_header X-Page "page=$uri";
                    location / {{ return 200 "the body"; }}
                }}
            }}
            """
        )
        return file

    def _accepts(self, port: int) -> bool:
        with self.space.entered(), socket.socket() as sock:
            return sock.connect_ex((ADDRESS, port)) == 0


def _url(port: int, name: str) -> str:
    return f"https://{ADDRESS}:{port}/{name}"


def _filled_in(word: str, words: dict[str, str]) -> str:
    for name, value in words.items():
        word = word.replace(f"{{{name}}}", value)
    return word
