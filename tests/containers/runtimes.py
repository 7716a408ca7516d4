"""Container runtimes that run on a `Host`, without a registry."""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from containers.host import HOME, USER, Host, output
from support import running

IMAGE = "peer"
# From inner ports of the container to the host's.
Ports = dict[int, int]
# Where the limits cannot be raised, Podman's own ones are refused.
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
PODMAN = (
    *("podman", "--runtime", "runc", "--storage-driver", "vfs"),
    *("--cgroup-manager", "cgroupfs"),
)
AS_USER = (
    *("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"),
    *("env", "-i", f"--chdir={HOME}", "PATH=/usr/bin:/bin:/usr/sbin:/sbin"),
    *(f"HOME={HOME}", f"XDG_RUNTIME_DIR=/run/user/{USER}", "USER=tccap-user"),
)
PLUGINS = Path("/usr/lib/cni")
SUBNET, GATEWAY = "10.91.0.0/16", "10.91.0.1"


class Container(NamedTuple):
    """A container that runs, and the name of its server."""

    name: str
    id: str
    address: str
    gateway: str  # the host's address there
    comm: str
    pid: int = 0


class Runtime(Protocol):
    """A runtime on a host."""

    def run(self, name: str, command: tuple[str, ...], ports: Ports) -> Container:
        """Start a container that publishes ports, TCP and UDP."""

    def inside(self, container: Container, *command: str) -> list[str]:
        """Return the command that runs one in a container."""

    def beside(
        self, other: Container, name: str, command: tuple[str, ...]
    ) -> Container:
        """Start a container that has the network of another one."""

    def remove(self, container: Container) -> None:
        """Stop a container at once, and remove it."""


class CommandLine:
    """Docker and Podman, which have the same commands."""

    def __init__(
        self,
        host: Host,
        *command: str,
        options: tuple[str, ...] = (),
        network: str = "",
    ) -> None:
        self._host = host
        self._command = command
        self._options = options
        self._network = ("--network", network) if network else ()
        archive = host.image.with_suffix(".tar")
        output(["tar", "-C", str(host.image), "-cf", str(archive), "."])
        self._do("import", str(archive), IMAGE)

    def _do(self, *arguments: str) -> str:
        return self._host.do(*self._command, *arguments)

    def run(self, name: str, command: tuple[str, ...], ports: Ports) -> Container:
        published = [
            f"--publish={outer}:{inner}/{protocol}"
            for inner, outer in ports.items()
            for protocol in ("tcp", "udp")
        ]
        options = ("--detach", "--name", name, *self._options, *self._network)
        self._do("run", *options, *published, IMAGE, *command)
        about = json.loads(self._do("inspect", name))[0]
        networks = about["NetworkSettings"].get("Networks") or {}
        network = next(iter(networks.values()), {"IPAddress": "", "Gateway": ""})
        address, gateway = network["IPAddress"], network["Gateway"]
        return Container(name, about["Id"], address, gateway, Path(command[0]).name)

    def inside(self, container: Container, *command: str) -> list[str]:
        return self._host.inside(*self._command, "exec", container.name, *command)

    def beside(
        self, other: Container, name: str, command: tuple[str, ...]
    ) -> Container:
        shared = (*self._options, "--network", f"container:{other.name}")
        self._do("run", "--detach", "--name", name, *shared, IMAGE, *command)
        about = json.loads(self._do("inspect", name))[0]
        return Container(name, about["Id"], "", "", Path(command[0]).name)

    def restart(self, container: Container) -> None:
        """Have a container begin anew, in another network namespace."""
        self._do("restart", "--time", "0", container.name)

    def connect(self, container: Container, network: str) -> str:
        """Give a container another network; return its address there."""
        self._do("network", "create", network)
        self._do("network", "connect", network, container.name)
        about = json.loads(self._do("inspect", container.name))[0]
        return str(about["NetworkSettings"]["Networks"][network]["IPAddress"])

    def disconnect(self, container: Container, network: str) -> None:
        """Take it away again."""
        self._do("network", "disconnect", network, container.name)

    def remove(self, container: Container) -> None:
        self._do("rm", "--force", container.name)


@contextlib.contextmanager
def docker(host: Host) -> Iterator[Runtime]:
    """Yield Docker, whose daemon was started for it."""
    daemon = ("dockerd", "--storage-driver", "vfs", "--log-level", "warn")
    parent = ("--cgroup-parent", f"{host.cgroup}/docker")
    socket, client = "/run/docker.sock", "/usr/bin/docker"
    with _daemon(host, socket, (client, "version"), *daemon, *parent):
        yield CommandLine(host, client)


@contextlib.contextmanager
def podman(host: Host) -> Iterator[Runtime]:
    """Yield root's Podman, with its network of CNI plugins."""
    options = (*LIMITS, "--cgroup-parent", f"{host.cgroup}/libpod_parent")
    yield CommandLine(host, *PODMAN, options=options)


@contextlib.contextmanager
def rootless(host: Host) -> Iterator[Runtime]:
    """Yield a user's Podman with slirp4netns."""
    command = (*AS_USER, *PODMAN)
    yield CommandLine(host, *command, options=LIMITS, network="slirp4netns")


class Pasta(CommandLine):
    """A user's Podman with the network of passt(1).

    Podman does not start it itself before 4.4.
    """

    def run(self, name: str, command: tuple[str, ...], ports: Ports) -> Container:
        box = super().run(name, command, {})
        published = ",".join(f"{outer}:{inner}" for inner, outer in ports.items())
        pid = json.loads(self._do("inspect", name))[0]["State"]["Pid"]
        ways = ("--config-net", "-t", published, "-u", published)
        self._host.do(*AS_USER, "pasta", *ways, str(pid))
        return box


@contextlib.contextmanager
def pasta(host: Host) -> Iterator[Runtime]:
    """Yield a user's Podman within the network of passt(1)."""
    yield Pasta(host, *AS_USER, *PODMAN, options=LIMITS, network="none")


class Ctr:
    """containerd, with CNI plugins that are run as CRI runs them.

    ctr(8) knows no names; the annotation is that of nerdctl.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self.below = ""  # in which of the host's cgroups containers are

    def run(self, name: str, command: tuple[str, ...], ports: Ports) -> Container:
        number = os.urandom(32).hex()
        self._host.do("ip", "netns", "add", name)
        self._host.do("ip", "-n", name, "link", "set", "lo", "up")
        address = self._connect(name, number, ports)
        self._start(name, number, name, command)
        return Container(name, number, address, GATEWAY, Path(command[0]).name)

    def beside(
        self, other: Container, name: str, command: tuple[str, ...]
    ) -> Container:
        number = os.urandom(32).hex()
        self._start(name, number, other.name, command)
        return Container(name, number, "", "", Path(command[0]).name)

    def remove(self, container: Container) -> None:
        self._host.do("ctr", "task", "rm", "--force", container.id)
        self._host.do("ctr", "container", "rm", container.id)
        with contextlib.suppress(AssertionError):  # it has that of another one
            self._host.do("ip", "netns", "del", container.name)

    def _start(
        self, name: str, number: str, network: str, command: tuple[str, ...]
    ) -> None:
        options = (
            *("--detach", "--rootfs", f"--with-ns=network:/run/netns/{network}"),
            *("--annotation", f"nerdctl/name={name}"),
            *("--cgroup", f"{self._host.cgroup}{self.below}/{number}"),
        )
        self._host.do("ctr", "run", *options, str(self._host.image), number, *command)

    def _connect(self, name: str, number: str, ports: Ports) -> str:
        bridge: dict[str, Any] = {"type": "bridge", "bridge": "cni0"}
        bridge |= {"isGateway": True, "ipMasq": True, "hairpinMode": True}
        ranges = [[{"subnet": SUBNET, "gateway": GATEWAY}]]
        routes = [{"dst": "0.0.0.0/0"}]
        bridge["ipam"] = {"type": "host-local", "ranges": ranges, "routes": routes}
        result = self._plugin(name, number, bridge)
        mappings = [
            {"hostPort": outer, "containerPort": inner, "protocol": protocol}
            for inner, outer in ports.items()
            for protocol in ("tcp", "udp")
        ]
        portmap: dict[str, Any] = {"type": "portmap", "prevResult": result}
        portmap["capabilities"] = {"portMappings": True}
        portmap["runtimeConfig"] = {"portMappings": mappings}
        self._plugin(name, number, portmap)
        return str(result["ips"][0]["address"].split("/")[0])

    def _plugin(self, name: str, number: str, config: dict[str, Any]) -> Any:
        variables = (
            *("CNI_COMMAND=ADD", f"CNI_CONTAINERID={number}", "CNI_IFNAME=eth0"),
            *(f"CNI_NETNS=/run/netns/{name}", f"CNI_PATH={PLUGINS}"),
        )
        done = subprocess.run(
            self._host.inside("env", *variables, str(PLUGINS / str(config["type"]))),
            input=json.dumps({"cniVersion": "0.4.0", "name": "tccap", **config}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def inside(self, container: Container, *command: str) -> list[str]:
        named = ("--exec-id", os.urandom(4).hex(), container.id)
        return self._host.inside("ctr", "task", "exec", *named, *command)


@contextlib.contextmanager
def containerd(host: Host) -> Iterator[Runtime]:
    """Yield containerd, whose daemon was started for it."""
    socket = "/run/containerd/containerd.sock"
    daemon = ("containerd", "--log-level", "warn")
    with _daemon(host, socket, ("ctr", "version"), *daemon):
        yield Ctr(host)


@contextlib.contextmanager
def _daemon(
    host: Host, socket: str, asks: tuple[str, ...], *command: str
) -> Iterator[None]:
    """Run a daemon; the block begins when it has answered a command that asks it."""
    file, path = host.image.with_name("daemon.log"), Path(f"/proc/{host.first}/root")

    def listens() -> bool:
        assert process.poll() is None, file.read_text()
        return (path / socket[1:]).exists()

    with file.open("w") as log:
        process = subprocess.Popen(
            host.inside(*command), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            running.until(listens, f"{command[0]} listens")
            done = subprocess.run(host.inside(*asks), check=False, capture_output=True)
            assert done.returncode == 0, f"{done.stderr!r} {file.read_text()}"
            yield
        finally:
            process.kill()  # nsenter(1); the daemon ends with the host
            process.wait()


def missing(*programs: str) -> list[str]:
    """Return those programs that are not installed."""
    return [program for program in programs if not shutil.which(program)]
