"""What the path of a cgroup says: a container, a pod, a unit of systemd.

Container runtimes make one cgroup for each container, systemd(1) one for each unit:

    /system.slice/docker-ID.scope                   /docker/ID
    /machine.slice/libpod-ID.scope/container        /system.slice/web.service
    /kubepods.slice/kubepods-podUID.slice/cri-containerd-ID.scope
    /kubepods/burstable/podUID/ID                   /lxc.payload.NAME/init.scope

What is inside a container, its own root has named. So the outermost container counts,
and units only outside of it.
"""

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

DOCKER, PODMAN, CONTAINERD, CRIO = "docker", "podman", "containerd", "cri-o"
LXC, NSPAWN = "lxc", "nspawn"

_RUNTIMES: Final = {
    "docker": DOCKER,
    "libpod": PODMAN,
    "libpod-payload": PODMAN,
    "cri-containerd": CONTAINERD,
    "nerdctl": CONTAINERD,
    "containerd": CONTAINERD,
    "crio": CRIO,
}
_ID: Final = r"(?P<id>[0-9a-f]{64})"
# Colons: containerd with the cgroups of cgroupfs below systemd's.
_CONTAINER: Final = re.compile(
    rf"(?:(?:[^:]*:)?(?P<prefix>{'|'.join(_RUNTIMES)})[-:])?{_ID}(?:\.scope)?"
)
_NAMED: Final = (
    (LXC, re.compile(r"lxc\.payload\.(.+)")),
    # systemd's own names: virtual machines are machines, too.
    (NSPAWN, re.compile(r"machine-(?!qemu\\x2d|lxc\\x2d|libpod)(.+)\.scope")),
    (NSPAWN, re.compile(r"systemd-nspawn@(.+)\.service")),
)
_POD: Final = re.compile(
    r"(?:kubepods(?:-[a-z]+)?-)?pod"
    r"([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})"
    r"(?:\.slice(?::.*)?)?"
)
_USER: Final = re.compile(r"user-([0-9]{1,10})\.slice|user@([0-9]{1,10})\.service")
_UNIT: Final = re.compile(r".+\.(?:service|scope)")
_ESCAPED: Final = re.compile(r"\\x([0-9a-f]{2})")
# What may stand before an id, for the programs that look at a cgroup first.
PREFIXES: Final = ("", *(f"{name}{end}" for name in _RUNTIMES for end in "-:"))


class Place(NamedTuple):
    """Where a process runs; empty: nowhere in particular.

    ``container`` is the whole id; runtimes without ids have a ``name``. ``runtime``
    is empty if the path does not say it. ``owner`` is the user who made it, None if
    root did.
    """

    runtime: str = ""
    container: str = ""
    name: str = ""
    pod_uid: str = ""
    unit: str = ""
    owner: int | None = None


def _root(_path: str) -> int | None:
    return None


def parse(path: str, owner_of: Callable[[str], int | None] = _root) -> Place:
    """Return what the path of a cgroup says, from the root of its hierarchy.

    Who may make cgroups somewhere can call them as he likes: ``owner_of`` returns that
    user for a path, None for root. That of a user's service manager says it itself.
    """
    place, parts = Place(), path.split("/")
    for at, part in enumerate(parts):
        found = _container(parts[at - 1] if at else "", part)
        place = place._replace(pod_uid=_pod_uid(part) or place.pod_uid)
        if found:
            owner = place.owner or owner_of("/".join(parts[:at]))
            return place._replace(**found, owner=owner)
        if _UNIT.fullmatch(part):
            place = place._replace(unit=part)
        if user := _USER.fullmatch(part):
            place = place._replace(owner=int(user[1] or user[2]) or None)
    # A pod has processes in its containers only.
    return place._replace(pod_uid="")


def _container(before: str, part: str) -> dict[str, Any]:
    """Return the members of a `Place` that a container's part of a path has."""
    if found := _CONTAINER.fullmatch(part):
        prefix = found["prefix"] or before
        return {"container": found["id"], "runtime": _RUNTIMES.get(prefix, "")}
    for runtime, pattern in _NAMED:
        if found := pattern.fullmatch(part):
            return {"name": _unescaped(found[1]), "runtime": runtime}
    if before == "lxc" and part:
        return {"name": part, "runtime": LXC}
    return {}


def _pod_uid(part: str) -> str:
    found = _POD.fullmatch(part)
    return found[1].replace("_", "-") if found else ""


def _unescaped(name: str) -> str:
    r"""Return a name without the escapes of systemd.unit(5): ``\x2d`` is a dash."""
    raw = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), name)
    return raw.encode("latin-1", "replace").decode("utf-8", "replace")
