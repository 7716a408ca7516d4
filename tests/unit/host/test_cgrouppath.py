"""What the path of a cgroup says, in the forms that runtimes and systemd make."""

import pytest

from tccap.host import cgrouppath
from tccap.host.cgrouppath import Place
from tccap.stream.abi import RUNTIME_PREFIX_LEN

ID = "0123456789abcdef" * 4
OTHER = "f" * 64
UID = "12345678-90ab-cdef-1234-567890abcdef"
UID_ = UID.replace("-", "_")
HASH = "0123456789abcdef" * 2
SLICE = f"kubepods-burstable-pod{UID_}.slice"
USER = "/user.slice/user-1000.slice/user@1000.service"
MANAGER = "user@1000.service"

PATHS = {
    # Docker: systemd, cgroupfs, rootless, below a parent of the user's choice.
    f"/system.slice/docker-{ID}.scope": Place("docker", ID),
    f"/docker/{ID}": Place("docker", ID),
    f"{USER}/user.slice/docker-{ID}.scope": Place("docker", ID, "", "", MANAGER, 1000),
    f"/my.slice/docker-{ID}.scope": Place("docker", ID),
    f"/actions_job/{ID}": Place("", ID),
    f"/ecs/{HASH}/{ID}": Place("", ID),
    # A daemon that systemd has started, with cgroups below its own.
    f"/system.slice/docker.service/docker/{ID}": Place(
        "docker", ID, unit="docker.service"
    ),
    # Podman: systemd, cgroupfs, rootless, Quadlet, its monitor, a pod.
    f"/machine.slice/libpod-{ID}.scope": Place("podman", ID),
    f"/machine.slice/libpod-{ID}.scope/container": Place("podman", ID),
    f"/libpod_parent/libpod-{ID}": Place("podman", ID),
    f"{USER}/user.slice/libpod-{ID}.scope/container": Place(
        "podman", ID, "", "", MANAGER, 1000
    ),
    f"/system.slice/web.service/libpod-payload-{ID}": Place(
        "podman", ID, unit="web.service"
    ),
    f"/machine.slice/machine-libpod_pod_{OTHER}.slice/libpod-{ID}.scope": Place(
        "podman", ID
    ),
    f"/machine.slice/libpod-conmon-{ID}.scope": Place(unit=f"libpod-conmon-{ID}.scope"),
    # Kubernetes: containerd and CRI-O with both drivers, Docker, static pods.
    f"/kubepods.slice/kubepods-burstable.slice/{SLICE}/cri-containerd-{ID}.scope": (
        Place("containerd", ID, "", UID)
    ),
    f"/kubepods.slice/kubepods-pod{UID_}.slice/crio-{ID}.scope/container": Place(
        "cri-o", ID, "", UID
    ),
    f"/kubepods/besteffort/pod{UID}/{ID}": Place("", ID, "", UID),
    f"/kubepods/besteffort/pod{UID}/crio-{ID}": Place("cri-o", ID, "", UID),
    f"/kubepods/pod{HASH}/{ID}": Place("", ID, "", HASH),
    f"/system.slice/containerd.service/{SLICE}:cri-containerd:{ID}": Place(
        "containerd", ID, "", UID, "containerd.service"
    ),
    f"/kubepods.slice/{SLICE}/docker-{ID}.scope": Place("docker", ID, "", UID),
    f"/kubepods/pod{UID}": Place(),
    # containerd by itself.
    f"/default/{ID}": Place("", ID),
    f"/system.slice/nerdctl-{ID}.scope": Place("containerd", ID),
    # LXC and Incus.
    "/lxc.payload.web": Place("lxc", name="web"),
    "/lxc.payload.user-1000_web/init.scope": Place("lxc", name="user-1000_web"),
    "/lxc/web/system.slice/ssh.service": Place("lxc", name="web"),
    "/lxc.monitor.web": Place(),
    # systemd-nspawn; virtual machines are no containers.
    "/machine.slice/machine-web.scope/payload": Place("nspawn", name="web"),
    r"/machine.slice/machine-my\x2dweb.scope": Place("nspawn", name="my-web"),
    "/machine.slice/systemd-nspawn@web.service/payload/init.scope": Place(
        "nspawn", name="web"
    ),
    r"/machine.slice/machine-qemu\x2d1\x2dweb.scope": Place(
        unit=r"machine-qemu\x2d1\x2dweb.scope"
    ),
    # systemd: units, sessions, a user's own units.
    "/system.slice/nginx.service": Place(unit="nginx.service"),
    "/system.slice/system-getty.slice/getty@tty1.service": Place(
        unit="getty@tty1.service"
    ),
    "/init.scope": Place(unit="init.scope"),
    "/user.slice/user-1000.slice/session-3.scope": Place(
        unit="session-3.scope", owner=1000
    ),
    f"{USER}/app.slice/web.service": Place(unit="web.service", owner=1000),
    "/user.slice/user-0.slice/session-1.scope": Place(unit="session-1.scope"),
    # Nothing in particular.
    "/": Place(),
    "": Place(),
    "/docker": Place(),
    f"/docker/{ID[:63]}": Place(),
    f"/docker/{ID.upper()}": Place(),
    f"/x{ID}": Place(),
}
# What the root of a container, or a user, calls its own cgroups, counts for nothing.
FORGED = {
    f"/docker/{ID}/docker/{OTHER}": Place("docker", ID),
    f"/docker/{ID}/system.slice/sshd.service": Place("docker", ID),
    f"/lxc.payload.web/docker/{OTHER}": Place("lxc", name="web"),
    f"/machine.slice/machine-web.scope/payload/libpod-{OTHER}.scope": Place(
        "nspawn", name="web"
    ),
    f"{USER}/x.slice/docker-{OTHER}.scope": Place(
        "docker", OTHER, "", "", MANAGER, 1000
    ),
}


@pytest.mark.parametrize("path", PATHS | FORGED)
def test_a_path_says_where_a_process_runs(path: str) -> None:
    assert cgrouppath.parse(path) == (PATHS | FORGED)[path]


@pytest.mark.parametrize("prefix", cgrouppath.PREFIXES)
def test_what_programs_take_for_a_container_is_one(prefix: str) -> None:
    assert len(prefix) < RUNTIME_PREFIX_LEN
    for end in ("", ".scope"):
        assert cgrouppath.parse(f"/{prefix}{ID}{end}").container == ID


def test_a_container_is_that_of_the_user_who_may_make_cgroups_there() -> None:
    """As in a service with Delegate= that runs as a user."""
    owners = {"/system.slice/app.service": 1000}
    path = f"/system.slice/app.service/docker-{ID}.scope"
    assert cgrouppath.parse(path, owners.get).owner == 1000
    assert cgrouppath.parse(f"{path}/docker-{OTHER}.scope", owners.get).container == ID
    assert cgrouppath.parse(f"/docker/{ID}", owners.get).owner is None
    manager = f"{USER}/user.slice/docker-{ID}.scope"
    assert cgrouppath.parse(manager, lambda _: 7).owner == 1000
