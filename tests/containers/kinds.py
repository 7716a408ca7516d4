"""The runtimes that are tried, and containers of them that serve."""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import pytest

from containers import runtimes
from containers.host import Host
from containers.rows import COUNT, INSIDE, PassesOn
from containers.runtimes import Container, Runtime
from support import running

# The program runs another one, which is faster, where the processor can.
PASTA = "passt.avx2" if "avx2" in Path("/proc/cpuinfo").read_text() else "pasta"


class Kind(NamedTuple):
    """A runtime, and what its table depends on."""

    start: Callable[[Host], AbstractContextManager[Runtime]]
    needs: tuple[str, ...]  # programs
    passes_on: PassesOn = PassesOn()
    proxied: tuple[str, ...] = ()  # ways that lead through it
    is_bridged: bool = True
    unanswered: tuple[str, ...] = ()  # what does not work


KINDS = {
    "docker": Kind(
        runtimes.docker,
        needs=("/usr/bin/docker", "dockerd", "runc"),
        passes_on=PassesOn(inwards="docker-proxy"),
        proxied=(
            "from the host's lo",
            "from another container",
            "from its own container",
        ),
    ),
    "podman": Kind(runtimes.podman, needs=("podman", "runc", "/usr/lib/cni/portmap")),
    "podman-slirp4netns": Kind(
        runtimes.rootless,
        needs=("podman", "runc", "slirp4netns", "newuidmap"),
        passes_on=PassesOn("rootlessport", "slirp4netns"),
        is_bridged=False,
    ),
    "podman-pasta": Kind(
        runtimes.pasta,
        needs=("podman", "runc", "pasta", "newuidmap"),
        passes_on=PassesOn(PASTA, PASTA),
        unanswered=("published port, from the host's lo udp",),  # by Debian 12's
        is_bridged=False,
    ),
    "containerd": Kind(
        runtimes.containerd,
        needs=("containerd", "ctr", "runc", "/usr/lib/cni/portmap"),
    ),
}


def found(name: str) -> Kind:
    """Return a kind, or skip the test with a line that says what is not installed."""
    kind = KINDS[name]
    if lacking := runtimes.missing(*kind.needs):
        print(f"\n{name}: not installed: {', '.join(lacking)}")  # noqa: T201
        pytest.skip(f"{name} is not installed")
    return kind


def started(
    made: Host, runtime: Runtime, name: str, program: str, first: int
) -> Container:
    """Start a container, and return when it serves."""
    inner = range(INSIDE, INSIDE + COUNT)
    ports = {port: first + number for number, port in enumerate(inner)}
    command = (f"/bin/{program}", *map(str, inner))
    box = runtime.run(name, command, ports)
    return box._replace(pid=serving(made, command, inner[-1]))


def serving(made: Host, command: tuple[str, ...], port: int) -> int:
    """Return the host's process that is the command, when it listens on a port."""
    needle, text = "\0".join(command).encode(), f":{port:04X} 00000000:0000 0A"
    found = []

    def serves() -> bool:
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                listens = text in (file.parent / "net" / "tcp").read_text()
                pid, line = int(file.parent.name), file.read_bytes()
                if listens and line.startswith(needle) and made.has(pid):
                    found.append(pid)
        return bool(found)

    running.until(serves, f"{command[0]} serves")
    return found[0]
