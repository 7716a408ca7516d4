"""Names from the files of runtimes, laid out as they lay them out."""

import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from tccap.host import cgrouppath, containernames, users
from tccap.host.cgrouppath import Place
from tccap.host.containernames import Files, Names

ID = "0123456789abcdef" * 4
UID = "12345678-90ab-cdef-1234-567890abcdef"
POD = f"/kubepods/pod{UID}"


def write(root: Path, path: str, content: Any) -> Path:
    file = Path(f"{root}{path}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def names(root: Path, path: str) -> Names:
    return Files(str(root)).names(cgrouppath.parse(path))


DOCKER = {"ID": ID, "Name": "/web", "Config": {"Labels": {"a": "b"}}}
STORED = [{"id": "f" * 64, "names": ["db"]}, {"id": ID, "names": ["web", "alias"]}]
CRI = {
    "annotations": {
        "io.kubernetes.cri.container-name": "nginx",
        "io.kubernetes.cri.sandbox-name": "web-0",
        "io.kubernetes.cri.sandbox-namespace": "shop",
    }
}
CRIO = {
    "annotations": {
        "io.kubernetes.container.name": "nginx",
        "io.kubernetes.pod.name": "web-0",
        "io.kubernetes.pod.namespace": "shop",
    }
}
K8S = Names("nginx", "web-0", "shop")
CONTAINERD = "/run/containerd/io.containerd.runtime.v2.task"


@pytest.mark.parametrize(
    ("files", "path", "expected"),
    [
        (
            {f"/var/lib/docker/containers/{ID}/config.v2.json": DOCKER},
            f"/docker/{ID}",
            Names("web"),
        ),
        (
            {
                "/etc/docker/daemon.json": {"data-root": "/srv/docker"},
                f"/srv/docker/containers/{ID}/config.v2.json": DOCKER,
            },
            f"/actions_job/{ID}",
            Names("web"),
        ),
        (
            {
                "/var/lib/containers/storage/vfs-containers/containers.json": STORED,
            },
            f"/machine.slice/libpod-{ID}.scope/container",
            Names("web"),
        ),
        (
            {
                "/etc/containers/storage.conf": '[storage]\ngraphroot = "/srv/pods"\n',
                "/srv/pods/overlay-containers/volatile-containers.json": STORED,
            },
            f"/libpod_parent/libpod-{ID}",
            Names("web"),
        ),
        (
            {f"{CONTAINERD}/k8s.io/{ID}/config.json": CRI},
            f"/kubepods.slice/kubepods-pod{UID}.slice/cri-containerd-{ID}.scope",
            K8S,
        ),
        (
            {
                f"{CONTAINERD}/default/{ID}/config.json": {
                    "annotations": {"nerdctl/name": "web"}
                }
            },
            f"/default/{ID}",
            Names("web"),
        ),
        (
            {
                f"/run/containers/storage/overlay-containers/{ID}/userdata/"
                "config.json": CRIO
            },
            f"{POD}/crio-{ID}",
            K8S,
        ),
        (
            {
                f"/var/log/pods/shop_web-0_{UID}/nginx/0.log": "",
                f"/var/log/containers/web-0_shop_nginx-{ID}.log": "",
            },
            f"{POD}/{ID}",
            K8S,
        ),
        # The kubelet makes the folder first.
        (
            {f"/var/log/pods/shop_web-0_{UID}/nginx/0.log": ""},
            f"{POD}/{ID}",
            Names("", "web-0", "shop"),
        ),
        ({}, "/lxc.payload.web", Names("web")),
        ({}, f"/docker/{ID}", Names()),
    ],
)
def test_names_come_from_files(
    tmp_path: Path, files: dict[str, Any], path: str, expected: Names
) -> None:
    for name, content in files.items():
        write(tmp_path, name, content)
    assert names(tmp_path, path) == expected


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "7", '{"Name": 7}', '{"Config": 1}', "[" * 99999]
)
def test_a_damaged_file_has_no_names(tmp_path: Path, content: str) -> None:
    write(tmp_path, f"/var/lib/docker/containers/{ID}/config.v2.json", content)
    storage = "/var/lib/containers/storage/overlay-containers"
    write(tmp_path, f"{storage}/containers.json", content)
    assert names(tmp_path, f"/x/{ID}") == Names()


def test_a_folder_that_cannot_be_has_no_names(tmp_path: Path) -> None:
    write(tmp_path, "/etc/docker/daemon.json", {"data-root": "/srv\0"})
    write(tmp_path, "/etc/containers/storage.conf", '[storage]\ngraphroot = "/\\u0000"')
    assert names(tmp_path, f"/x/{ID}") == Names()


def test_a_name_can_always_be_encoded(tmp_path: Path) -> None:
    path = f"/var/lib/docker/containers/{ID}/config.v2.json"
    write(tmp_path, path, '{"Name": "/a\\ud800b"}')
    assert names(tmp_path, f"/docker/{ID}") == Names("a?b")


# --- files of a user ----------------------------------------------------------------

NOBODY = pwd.getpwnam("nobody").pw_uid


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of nobody, who has a container of rootless Podman."""
    passwd = tmp_path / "passwd"
    passwd.write_text(f"n:x:{NOBODY}:0::/h:\n")
    monkeypatch.setattr(users, "LOCAL", passwd)
    stored = f"{tmp_path}/h/.local/share/containers/storage/overlay-containers"
    os.chown(write(Path(stored), "/containers.json", STORED), NOBODY, -1)
    return Path(stored)


def of_nobody(root: Path) -> Names:
    return Files(str(root)).names(Place("podman", ID, owner=NOBODY))


def test_a_users_container_has_the_name_in_the_users_file(
    tmp_path: Path, home: Path
) -> None:
    assert home.is_dir()
    assert of_nobody(tmp_path) == Names("web")


def test_a_users_link_and_somebody_elses_file_are_not_read(
    tmp_path: Path, home: Path
) -> None:
    file, other = home / "containers.json", tmp_path / "other.json"
    file.rename(other)
    file.symlink_to(other)
    assert of_nobody(tmp_path) == Names()
    file.unlink()
    os.link(other, file)
    os.chown(other, 0, -1)
    assert of_nobody(tmp_path) == Names()


def test_a_users_folder_may_not_lead_elsewhere(tmp_path: Path, home: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    home.rename(elsewhere)
    home.symlink_to(elsewhere)
    assert of_nobody(tmp_path) == Names()


def test_a_users_pipe_is_not_waited_for(tmp_path: Path, home: Path) -> None:
    file = home / "containers.json"
    file.unlink()
    os.mkfifo(file)
    os.chown(file, NOBODY, -1)
    assert of_nobody(tmp_path) == Names()


def test_a_users_file_on_another_machines_file_system_is_not_opened(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as NFS or FUSE, which may never answer."""
    assert home.is_dir()
    monkeypatch.setattr(containernames, "_LOCAL", frozenset())
    assert of_nobody(tmp_path) == Names()


def test_a_user_cannot_borrow_the_name_of_roots_container(tmp_path: Path) -> None:
    """Any user can call a cgroup of their service manager docker-ID.scope."""
    write(tmp_path, f"/var/lib/docker/containers/{ID}/config.v2.json", DOCKER)
    forged = f"/user.slice/user-{NOBODY}.slice/x.service/docker-{ID}.scope"
    assert names(tmp_path, forged) == Names()
