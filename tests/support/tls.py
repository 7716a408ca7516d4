"""Real programs that speak TLS, and a live tshark that decrypts what they say."""

import ast
import contextlib
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support import running
from support.netns import Namespace
from support.wireshark import Captures, Log, Wireshark, watch

ADDRESS = "127.0.0.1"
HTTPS = Path(__file__).with_name("https.py")
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
PAGE = b"the body"
PREFERENCE = "extcap.tccap_lo"
FIELDS = ("http.request.uri", "http.response.code", "http.response_for.uri")


@dataclass
class World:
    """A namespace with a certificate, and what was started in it."""

    space: Namespace
    folder: Path
    certificate: Path = field(init=False)
    _ports: Iterator[int] = field(init=False)

    def __post_init__(self) -> None:
        self.certificate = self.folder / "certificate.pem"
        self._ports = iter(range(4433, 65536))
        # Where an ordinary user gets, too.
        (self.folder / HTTPS.name).write_text(HTTPS.read_text())
        new = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9")
        files = ("-keyout", str(self.certificate), "-out", str(self.folder / "cert"))
        subprocess.run(
            [*new, *files, "-subj", f"/CN={ADDRESS}"], check=True, capture_output=True
        )
        with self.certificate.open("a") as file:
            file.write((self.folder / "cert").read_text())
        self.certificate.chmod(0o644)

    def program(self, client: str) -> str:
        """Return the path of a client that has a TLS library of its own."""
        if client == "go":
            return self._build_go()
        path = shutil.which(CLIENTS[client][0])
        assert path, f"{client} is not installed"
        return path

    def _build_go(self) -> str:
        source = self.folder / "client.go"
        source.write_text(_GO)
        command = ["go", "build", "-ldflags", "-s -w", "-o", "go-client", str(source)]
        caches = {"GOCACHE": str(self.folder / "go"), "GOFLAGS": "-mod=mod"}
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), **caches}
        subprocess.run(command, check=True, cwd=self.folder, env=environment)
        return str(self.folder / "go-client")

    @contextlib.contextmanager
    def serving(self, server: str, *, version: str = "1.3") -> Iterator[int]:
        """Give the port of a server that takes connections."""
        port = next(self._ports)
        command = self.space.command(*self._server(server, port, version))
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.folder
        ) as process:
            try:
                running.until(lambda: self._accepts(port), f"{server} on {port}")
                yield port
            finally:
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=running.DEADLINE_S)

    def get(self, client: tuple[str, ...], port: int, name: str, **env: str) -> None:
        """Let a client fetch a page."""
        url = f"https://{ADDRESS}:{port}/{name}"
        words = {"URL": url, "NAME": name, "PORT": str(port), "ADDRESS": ADDRESS}
        done = subprocess.run(
            self.space.command(*(word.format(**words) for word in client)),
            check=False,
            input=f"GET /{name} HTTP/1.0\r\n\r\n".encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **env},
            timeout=running.DEADLINE_S,
        )
        # Some do not like how some servers end, and say so by their status.
        assert PAGE in done.stdout, done.stdout.decode(errors="replace")

    def _server(self, server: str, port: int, version: str) -> list[str]:
        python = ["/usr/bin/python3", "https.py", ADDRESS, str(port)]
        ours = [*python, str(self.certificate), version]
        if server == "python":
            return ours
        if server == "python as nobody":
            return [*NOBODY, *ours]
        assert server == "nginx"
        return ["nginx", "-c", str(self._nginx_configuration(port, version))]

    def _nginx_configuration(self, port: int, version: str) -> Path:
        file = self.folder / f"nginx-{port}.conf"
        file.write_text(
            f"""
            daemon off; master_process off; pid {file}.pid; error_log stderr;
            events {{ }}
            http {{
                access_log off;
                client_body_temp_path {self.folder}; proxy_temp_path {self.folder};
                fastcgi_temp_path {self.folder}; uwsgi_temp_path {self.folder};
                scgi_temp_path {self.folder};
                server {{
                    listen {ADDRESS}:{port} ssl;
                    ssl_certificate {self.certificate};
                    ssl_certificate_key {self.certificate};
                    ssl_protocols TLSv{version};
                    location / {{ return 200 "the body"; }}
                }}
            }}
            """
        )
        return file

    def _accepts(self, port: int) -> bool:
        with self.space.entered(), socket.socket() as sock:
            return sock.connect_ex((ADDRESS, port)) == 0


_PYTHON = (
    "import ssl, urllib.request as r; c = ssl._create_unverified_context();"
    "print(r.urlopen('{URL}', context=c).read())"
)
_GO = """
package main

import ("crypto/tls"; "io"; "net/http"; "os")

func main() {
	config := &tls.Config{InsecureSkipVerify: true}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	response, err := client.Get(os.Args[1])
	if err != nil { panic(err) }
	io.Copy(os.Stdout, response.Body)
}
"""
_NODE = (
    "process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';"
    "require('https').get('{URL}', r => r.pipe(process.stdout));"
)
CLIENTS: dict[str, tuple[str, ...]] = {
    "curl": ("curl", "-sk", "{URL}"),
    "curl 1.2": ("curl", "-sk", "--tls-max", "1.2", "{URL}"),
    "python": ("/usr/bin/python3", "-c", _PYTHON),
    "openssl": ("openssl", "s_client", "-ign_eof", "-connect", "{ADDRESS}:{PORT}"),
    "wget": ("wget", "-q", "--no-check-certificate", "-O", "-", "{URL}"),
    "gnutls-cli": ("gnutls-cli", "--insecure", "-p", "{PORT}", "{ADDRESS}"),
    "node": ("node", "--no-warnings", "-e", _NODE),
    "go": ("./go-client", "{URL}"),
}
AS_NOBODY = {name: (*NOBODY, *command) for name, command in CLIENTS.items()}


class Decrypting:
    """A running tshark, and the HTTP that it has shown so far."""

    def __init__(self, captures: Captures, log: Log) -> None:
        self.captures = captures
        self._log = log
        assert captures.process.stdout
        self._shown = running.Collector(captures.process.stdout.buffer)  # type: ignore[attr-defined]

    def wait_for_log(self, text: str) -> None:
        """Return when the log holds the text."""
        self._log.wait_for(text)

    def wait_for(self, text: str) -> None:
        """Return when tshark has shown the text."""
        self._shown.wait_for(text.encode())

    def has_shown(self, text: str) -> bool:
        """Tell whether tshark has shown the text."""
        return text.encode() in self._shown.so_far()

    def join(self) -> None:
        """Return when a tshark that was killed has let go of its pipe."""
        self._shown.rest()

    def end(self) -> tuple[list[list[str]], dict[str, Any]]:
        """Stop; return the lines that were shown, and the counts of TLS."""
        self.captures.interrupt()
        self._log.wait_for("tls {'counts'")
        self.captures.process.wait(running.DEADLINE_S)
        lines = self._shown.rest().decode().splitlines()
        match = re.search(r"tls (\{'counts'.*\})", self._log.text)
        assert match
        counts: dict[str, Any] = ast.literal_eval(match[1])["counts"]
        return [line.split("\t") for line in lines], counts


@contextlib.contextmanager
def decrypting(
    wireshark: Wireshark, space: Namespace, *options: str
) -> Iterator[Decrypting]:
    """Give a tshark that captures live, and shows HTTP in its first pass."""
    shown = [word for name in FIELDS for word in ("-e", name)]
    with ExitStack() as stack:
        log = Log(wireshark.temporary)
        stack.callback(log.close)
        chosen = (f"logfile:{log.path}", "loglevel:debug", *options)
        ours = [word for one in chosen for word in ("-o", f"{PREFERENCE}.{one}")]
        command = ("tshark", "-l", "-i", "tccap-lo", *ours, "-Y", "http")
        full = wireshark.command(space, *command, "-T", "fields", *shown)
        captures = stack.enter_context(watch(space, full, [log], wireshark.environment))
        running_tshark = Decrypting(captures, log)
        try:
            yield running_tshark
        finally:
            captures.process.kill()
            running_tshark.join()
