"""Labels of packets of real container runtimes, where people capture."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import pytest

from containers import host, judged, rows, runtimes
from containers.host import Host
from containers.rows import COUNT, PassesOn, Row, Rows
from containers.runtimes import Container, Runtime
from support import commandline, running
from truth import packets

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


@pytest.mark.parametrize("name", KINDS)
def test_no_label_is_wrong(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    if lacking := runtimes.missing(*kind.needs):
        print(f"\n{name}: not installed: {', '.join(lacking)}")  # noqa: T201
        pytest.skip(f"{name} is not installed")
    done = _run(kind, tmp_path / "all.pcapng")
    print("", name, *done.table.lines(), sep="\n")  # noqa: T201
    print(*(f"{row}: no answer" for row in done.unanswered), sep="\n")  # noqa: T201
    assert not done.table.wrong, "\n".join(done.table.wrong)
    assert set(done.unanswered) <= set(kind.unanswered)
    assert done.table.unlabelled() == []


class Done(NamedTuple):
    """What a run has shown."""

    table: judged.Table
    unanswered: list[str]  # rows


def _run(kind: Kind, file: Path) -> Done:
    """Run a runtime's rows with two containers; one is older than the capture."""
    with host.host(rows.PROGRAMS) as made, kind.start(made) as runtime:
        one = _started(runtime, "web-1", rows.SERVES, rows.PUBLISHED)
        with commandline.capturing(
            made, "-i", "any", "-w", str(file), "--label", "short"
        ) as capture:
            two = _started(runtime, "web-2", rows.OTHER_SERVES, rows.OF_OTHER)
            every = list(_rows(kind, Rows(made, runtime, (one, two), kind.passes_on)))
            unanswered = list(_ask(made, every))
            capture.interrupt()
            counts, _ = capture.end()
    assert counts.dropped == 0
    return Done(judged.Table(every, packets.read(file.read_bytes())), unanswered)


def _rows(kind: Kind, made: Rows) -> Iterator[Row]:
    return made.bridged(proxied=kind.proxied) if kind.is_bridged else made.unbridged()


def _started(runtime: Runtime, name: str, program: str, first: int) -> Container:
    """Start a container, and return when it serves."""
    inner = range(rows.INSIDE, rows.INSIDE + COUNT)
    ports = {port: first + number for number, port in enumerate(inner)}
    command = (f"/bin/{program}", *map(str, inner))
    box = runtime.run(name, command, ports)
    return box._replace(pid=_server(command, inner[-1]))


def _server(command: tuple[str, ...], port: int) -> int:
    """Return the process that a command has become, when it listens on a port."""
    needle, text = "\0".join(command).encode(), f":{port:04X} 00000000:0000 0A"
    found = []

    def serves() -> bool:
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                listens = text in (file.parent / "net" / "tcp").read_text()
                if listens and file.read_bytes().startswith(needle):
                    found.append(int(file.parent.name))
        return bool(found)

    running.until(serves, f"{command[0]} serves")
    return found[0]


def _ask(made: Host, every: list[Row]) -> Iterator[str]:
    """Run the rows one after the other; yield those that failed."""
    with contextlib.ExitStack() as stack:
        for remote in made.remotes.values():
            ports = [str(rows.FAR + number) for number in range(COUNT)]
            server = [str(made.image / "bin" / rows.FAR_SERVES), *ports]
            process = stack.enter_context(running.started(remote.command(*server)))
            assert process.stdout
            assert process.stdout.readline() == b"serving\n"
        for row in every:
            done = subprocess.run(row.command, check=False, capture_output=True)
            if done.returncode:
                yield f"{row.title} {row.protocol}"
