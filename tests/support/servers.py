"""Real servers with several processes, which answer HTTP with the pid of the one.

Nothing is installed for them: `missing` names what a server lacks.
"""

import contextlib
import os
import re
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from support import running
from support.netns import Namespace

_NGINX = """
daemon off;
user www-data;
worker_processes 2;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {port} {options};
        return 200 "$pid\\n";
    }}
}}
"""
_HAPROXY = """
defaults
    mode http
    timeout client 60s
    timeout server 60s
    timeout connect 60s
frontend all
    bind :{port}
    http-request return status 200 content-type text/plain lf-string "%pid\\n"
"""
_WSGI = """
import os
import re

def application(request, start_response):
    body = b"%d\\n" % os.getpid()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
_NODE = """
const cluster = require('cluster');
const start = () => {{ cluster.fork(); cluster.fork(); }};
if (cluster.isMaster) {{
    start();
    process.on('SIGHUP', () => {{
        const before = Object.values(cluster.workers);
        let ready = 0;
        cluster.on('listening', () => {{
            if (++ready == 2) before.forEach(worker => worker.disconnect());
        }});
        start();
    }});
}} else {{
    const answer = (request, response) => response.end(process.pid + '\\n');
    require('http').createServer(answer).listen({port});
}}
"""
# Every version of Go can listen by Multipath TCP,
_GO = """
package main

import ("fmt"; "net"; "net/http"; "os"; "syscall")

func main() {{
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 262)
	if err != nil {{ panic(err) }}
	err = syscall.Bind(fd, &syscall.SockaddrInet4{{Port: {port}}})
	if err != nil {{ panic(err) }}
	err = syscall.Listen(fd, 128)
	if err != nil {{ panic(err) }}
	listener, err := net.FileListener(os.NewFile(uintptr(fd), "listener"))
	if err != nil {{ panic(err) }}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {{
		fmt.Fprintln(w, os.Getpid())
	}})
	panic(http.Serve(listener, nil))
}}
"""


# and Go 1.24 and later do so by default.
_GO_BY_DEFAULT = """
package main

import ("fmt"; "net/http"; "os")

func main() {{
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {{
		fmt.Fprintln(w, os.Getpid())
	}})
	panic(http.ListenAndServe("0.0.0.0:{port}", nil))
}}
"""


IPPROTO_MPTCP = 262  # include/uapi/linux/in.h


class Server(NamedTuple):
    """A server: how it is started in a folder, on a port, and reloaded."""

    name: str
    needs: str  # the program
    port: int
    command: "Callable[[Path, int], list[str]]"
    reload: signal.Signals | None = signal.SIGHUP
    protocol: int = socket.IPPROTO_TCP  # by which it can be asked
    version: "Callable[[], str]" = lambda: ""  # what the program lacks

    def missing(self) -> str:
        """Return what is not installed, its client included; empty: all is."""
        return missing(self.needs, "curl") or self.version()


def missing(*programs: str) -> str:
    """Return the programs that are not installed, as one text."""
    return " and ".join(program for program in programs if not shutil.which(program))


def _written(file: Path, text: str, port: int, **more: str) -> Path:
    file.write_text(text.format(folder=file.parent, port=port, **more))
    return file


def _nginx(options: str) -> "Callable[[Path, int], list[str]]":
    def command(folder: Path, port: int) -> list[str]:
        file = _written(folder / "nginx.conf", _NGINX, port, options=options)
        return ["nginx", "-p", str(folder), "-c", str(file), "-e", "stderr"]

    return command


def _haproxy(folder: Path, port: int) -> list[str]:
    # -W: a master and workers; -db: in the foreground
    file = _written(folder / "haproxy.cfg", _HAPROXY, port)
    return ["haproxy", "-W", "-db", "-f", str(file)]


def _gunicorn(folder: Path, port: int) -> list[str]:
    (folder / "pid.py").write_text(_WSGI)
    where = ("--bind", f"0.0.0.0:{port}", "--chdir", str(folder))
    return ["gunicorn", "--workers", "2", *where, "pid:application"]


def _node(folder: Path, port: int) -> list[str]:
    return ["node", str(_written(folder / "cluster.js", _NODE, port))]


def _go(text: str, module: str = "") -> "Callable[[Path, int], list[str]]":
    """Build a program; how it behaves depends on the version that a module names."""

    def command(folder: Path, port: int) -> list[str]:
        source, program = _written(folder / "server.go", text, port), folder / "server"
        if module:
            (folder / "go.mod").write_text(module)
        options = {**_GO_OPTIONS, "GO111MODULE": "on" if module else "off"}
        build = ("go", "build", "-o", str(program), str(source))
        subprocess.run(build, check=True, cwd=folder, env={**os.environ, **options})
        return [str(program)]

    return command


def _old_go() -> str:
    """Return the version that is missing; empty: Go is new enough."""
    command = ("go", "version")
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"go(\d+)\.(\d+)", text)
    assert found, text
    is_old = tuple(map(int, found.groups())) < (1, 24)
    return "Go 1.24" if is_old else ""


_GO_OPTIONS = {"CGO_ENABLED": "0", "GOFLAGS": "", "GOTOOLCHAIN": "local"}
_GO_MODULE = "module server\n\ngo 1.24\n"
SERVERS = (
    Server("nginx", "nginx", 8001, _nginx("")),
    Server("nginx, reuseport", "nginx", 8002, _nginx("reuseport")),
    Server("haproxy", "haproxy", 8003, _haproxy, signal.SIGUSR2),
    Server("gunicorn", "gunicorn", 8004, _gunicorn),
    Server("node cluster", "node", 8005, _node),
    Server("Go, MPTCP", "go", 8006, _go(_GO), None, IPPROTO_MPTCP),
    Server(
        name="Go by default",
        needs="go",
        port=8007,
        command=_go(_GO_BY_DEFAULT, _GO_MODULE),
        reload=None,
        protocol=IPPROTO_MPTCP,
        version=_old_go,
    ),
)


@dataclass
class Running:
    """A server that accepts connections."""

    server: Server
    pid: int

    def family(self) -> set[int]:
        """Return its processes."""
        return family(self.pid)

    def reload(self) -> None:
        """Have it start new workers; return when there are some."""
        if self.server.reload:
            before = self.family()
            os.kill(self.pid, self.server.reload)
            running.until(lambda: self.family() - before, "new workers")


@contextlib.contextmanager
def serving(server: Server, space: Namespace, folder: Path) -> Iterator[Running]:
    """Run a server in a namespace; at the end none of its processes is left."""
    command = space.command(*server.command(folder, server.port))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    with process:
        found = Running(server, process.pid)
        try:
            running.until(
                lambda: process.poll() is not None or _accepts(space, server.port),
                f"{server.name} accepts",
            )
            assert process.poll() is None, (folder / "log").read_text()
            yield found
        finally:
            kill_family(process.pid)


def _accepts(space: Namespace, port: int) -> bool:
    with space.entered(), socket.socket() as sock:
        return not sock.connect_ex(("127.0.0.1", port))


def family(pid: int) -> set[int]:
    """Return a process and its descendants."""
    found = {pid}
    with contextlib.suppress(OSError):
        for file in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in file.read_text().split():
                found |= family(int(child))
    return found


def kill_family(pid: int) -> None:
    """Kill a process and its descendants; return when they are gone."""
    os.kill(pid, signal.SIGSTOP)  # so that it starts no others instead
    for member in family(pid):
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            alive = os.pidfd_open(member)
            signal.pidfd_send_signal(alive, signal.SIGKILL)
            assert select.select([alive], [], [], running.DEADLINE_S)[0]
            os.close(alive)
