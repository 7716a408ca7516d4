"""Servers and clients of HTTP/3: of Debian's packages, and of wheels."""

import contextlib
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from support import fetched, running
from support.tls import ADDRESS, PAGE, TlsHost

# Extracted, not installed: Debian would start a server.
PACKAGES = (
    *("caddy", "ngtcp2-client", "ngtcp2-server"),
    *("libngtcp2-9", "libngtcp2-crypto-gnutls2", "libnghttp3-3", "libev4"),
)
_CADDY = """
{{
    admin off
    auto_https off
    skip_install_trust
    default_sni {0}
}}
https://{0}:{1} {{
    tls {2} {2}
    respond "the body of {{path}};"
}}
"""
# A session for each URL, so that each has a connection of its own.
CURL_CFFI = """
import sys
from curl_cffi import CurlHttpVersion, requests
for url in sys.argv[1:]:
    version = CurlHttpVersion.V3ONLY
    with requests.Session(verify=False, impersonate="chrome") as session:
        print(session.get(url, http_version=version).text)
"""


class Http3Host:
    """QUIC servers and clients in the namespace of a `TlsHost`."""

    def __init__(self, host: TlsHost) -> None:
        self._host = host
        self.folder = host.folder
        self._ports = iter(range(8443, 65536))
        self._root = fetched.kept("-".join(("debian", *PACKAGES)), _fetch)
        (self.folder / "pages").mkdir(exist_ok=True)

    @contextlib.contextmanager
    def serving(
        self, server: str, *options: str, as_user: tuple[str, ...] = ()
    ) -> Iterator[int]:
        """Yield the port of a server, "caddy" or "gtlsserver", with its options."""
        port = next(self._ports)
        command = [*as_user, *self._server(server, port), *options]
        home = tempfile.mkdtemp(dir=self.folder)
        Path(home).chmod(0o777)
        with subprocess.Popen(
            self._host.space.command("env", f"HOME={home}", *self._libraries, *command),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
        ) as process:
            try:
                running.until(lambda: self._is_bound(port), f"{server} on {port}")
                yield port
            finally:
                process.kill()

    def get(
        self,
        client: str,
        port: int,
        *names: str,
        options: tuple[str, ...] = (),
        as_user: tuple[str, ...] = (),
    ) -> None:
        """Fetch pages with "gtlsclient" or "curl_cffi", each by its own connection."""
        if client == "curl_cffi":
            self._run(*as_user, *self._curl_cffi(port, *names))
            return
        downloads = Path(tempfile.mkdtemp(dir=self.folder))
        downloads.chmod(0o777)
        program = str(self._root / "usr/bin/gtlsclient")
        flags = ("-q", "--exit-on-all-streams-close", f"--download={downloads}")
        for name in names:
            url = f"https://{ADDRESS}:{port}/{name}"
            self._run(
                *(*as_user, program, *flags, *options, ADDRESS, str(port), url),
            )
            assert PAGE in (downloads / name).read_bytes()

    def _curl_cffi(self, port: int, *names: str) -> list[str]:
        self._host.program("curl_cffi")
        urls = (f"https://{ADDRESS}:{port}/{name}" for name in names)
        program = ("env", "PYTHONPATH=curl_cffi", "/usr/bin/python3", "-c", CURL_CFFI)
        return [*program, *urls]

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            self._host.space.command("env", *self._libraries, *command),
            check=False,
            capture_output=True,
            cwd=self.folder,
            timeout=running.DEADLINE_S,
        )
        shown = (done.stdout + done.stderr).decode(errors="replace")
        assert done.returncode == 0, shown

    @property
    def _libraries(self) -> list[str]:
        [folder] = (self._root / "usr/lib").glob("*-linux-gnu")
        return [f"LD_LIBRARY_PATH={folder}"]

    def program(self, name: str) -> str:
        """Return the file of a server."""
        folder = "bin" if name == "caddy" else "sbin"
        return str(self._root / "usr" / folder / name)

    def add_pages(self, *names: str) -> None:
        """Make pages for gtlsserver, which serves files."""
        for name in names:
            content = PAGE + f" of /{name};".encode()
            (self.folder / "pages" / name).write_bytes(content)

    def _server(self, server: str, port: int) -> list[str]:
        key = str(self._host.certificate)
        if server == "gtlsserver":
            return [
                self.program(server),
                "-q",
                "-d",
                "pages",
                ADDRESS,
                str(port),
                key,
                key,
            ]
        file = self.folder / f"caddy-{port}"
        file.write_text(_CADDY.format(ADDRESS, port, key))
        caddyfile = ("--adapter", "caddyfile", "--config", str(file))
        return [self.program(server), "run", *caddyfile]

    def _is_bound(self, port: int) -> bool:
        with (
            self._host.space.entered(),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        ):
            try:
                sock.bind((ADDRESS, port))
            except OSError:
                return True
        return False


def _fetch(made: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch).chmod(0o777)
        subprocess.run(
            ["apt-get", "-qq", "download", *PACKAGES], check=True, cwd=scratch
        )
        for package in Path(scratch).glob("*.deb"):
            subprocess.run(["dpkg", "--extract", package, made], check=True)
