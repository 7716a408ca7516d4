"""The names of containers and pods, from the files of their runtimes.

No daemon is asked. Files of root's runtimes are read as they are. Those of a user could
be anything: each is opened without following links, if it is an ordinary file of that
user's on a file system of this machine, so that reading it neither hangs nor shows what
is not the user's.
"""

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from tccap.host import mounts, users
from tccap.host.cgrouppath import CONTAINERD, CRIO, DOCKER, PODMAN, Place

_LEN_MAX: Final = 16 << 20
_LEN_MAX_OF_USER: Final = 1 << 20  # parsing takes time of everybody's capture
_LOCAL: Final = frozenset(
    [
        "bcachefs",
        "btrfs",
        "erofs",
        "ext2",
        "ext3",
        "ext4",
        "f2fs",
        "overlay",
        "tmpfs",
        "xfs",
    ]
)
_STORAGE: Final = "/var/lib/containers/storage"
_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_DRIVERS: Final = ("overlay", "vfs", "btrfs", "zfs", "aufs")
# Who writes which annotation into a container's configuration (config.json of OCI).
_NAME_KEYS: Final = (
    "io.kubernetes.cri.container-name",
    "io.kubernetes.container.name",
    "nerdctl/name",
)
_POD_KEYS: Final = ("io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name")
_NAMESPACE_KEYS: Final = (
    "io.kubernetes.cri.sandbox-namespace",
    "io.kubernetes.pod.namespace",
)


class Names(NamedTuple):
    """What people call a container; empty: not known."""

    name: str = ""
    pod: str = ""
    namespace: str = ""  # of Kubernetes

    def completed_by(self, other: "Names") -> "Names":
        """Return these, and what else the other ones know."""
        return Names(*(mine or more for mine, more in zip(self, other, strict=True)))


class Files:
    """The files of the runtimes below a root folder, which tests make themselves."""

    def __init__(self, root: str = "") -> None:
        self._root = root

    def names(self, place: Place) -> Names:
        """Return the names of a container."""
        found = Names(name=place.name)
        if not place.container:
            return found
        for more in self._sources(place):
            found = found.completed_by(more)
            if found.name and (found.pod or not place.pod_uid):
                break
        return found

    def _sources(self, place: Place) -> Iterator[Names]:
        if place.owner is not None:
            yield from self._of_user(place, place.owner)
            return
        readers = {
            DOCKER: (self._docker,),
            PODMAN: (self._podman,),
            CONTAINERD: (self._containerd,),
            CRIO: (self._oci_of_storage,),
        }
        every = (self._docker, self._podman, self._containerd, self._oci_of_storage)
        for read in (self._logs, *readers.get(place.runtime, every)):
            yield read(place)

    # --- of root's runtimes ----------------------------------------------------

    def _docker(self, place: Place) -> Names:
        for folder in self._docker_folders():
            found = self._json(f"{folder}/containers/{place.container}/config.v2.json")
            if found:
                return _docker_names(found)
        return Names()

    def _docker_folders(self) -> Iterator[str]:
        configured = _text(self._json("/etc/docker/daemon.json").get("data-root"))
        yield configured or "/var/lib/docker"
        yield "/var/snap/docker/common/var-lib-docker"

    def _podman(self, place: Place) -> Names:
        return self._stored(self._storage(), place, None)

    def _storage(self) -> str:
        raw = self._read("/etc/containers/storage.conf")
        if not raw:
            return _STORAGE
        import tomllib  # noqa: PLC0415  # slow, and a user waits for the start

        with contextlib.suppress(tomllib.TOMLDecodeError, UnicodeDecodeError):
            settings = tomllib.loads(raw.decode()).get("storage")
            return _text(_table(settings).get("graphroot")) or _STORAGE
        return _STORAGE

    def _containerd(self, place: Place) -> Names:
        top = "/run/containerd/io.containerd.runtime.v2.task"
        for folder in self._folders(top):
            found = self._json(f"{top}/{folder}/{place.container}/config.json")
            if found:
                return _annotated(found)
        return Names()

    def _oci_of_storage(self, place: Place) -> Names:
        for top in (self._storage(), "/run/containers/storage"):
            for driver in _DRIVERS:
                folder = f"{top}/{driver}-containers/{place.container}/userdata"
                found = self._json(f"{folder}/config.json")
                if found:
                    return _annotated(found)
        return Names()

    def _logs(self, place: Place) -> Names:
        """Return what the kubelet's folders of logs say."""
        if not place.pod_uid:
            return Names()
        names = Names()
        for folder in self._folders("/var/log/pods"):
            namespace, _, rest = folder.partition("_")
            pod, _, uid = rest.rpartition("_")
            if uid == place.pod_uid:
                names = Names(pod=pod, namespace=namespace)
        prefix, end = f"{names.pod}_{names.namespace}_", f"-{place.container}.log"
        for link in self._folders("/var/log/containers") if names.pod else ():
            if link.startswith(prefix) and link.endswith(end):
                return names._replace(name=link[len(prefix) : -len(end)])
        return names

    # --- of a user's runtimes --------------------------------------------------

    def _of_user(self, place: Place, owner: int) -> Iterator[Names]:
        home = users.local_home(owner)
        if not home.startswith("/"):
            return
        share = f"{home}/.local/share"
        if place.runtime != DOCKER:
            yield self._stored(f"{share}/containers/storage", place, owner)
        path = f"{share}/docker/containers/{place.container}/config.v2.json"
        yield _docker_names(self._json(path, owner))

    # --- reading ---------------------------------------------------------------

    def _stored(self, top: str, place: Place, owner: int | None) -> Names:
        """Return what containers-storage (Podman, CRI-O, Buildah) knows."""
        for driver in _DRIVERS:
            for name in ("containers.json", "volatile-containers.json"):
                path = f"{top}/{driver}-containers/{name}"
                for each in map(_table, self._list(path, owner)):
                    if each.get("id") == place.container:
                        return _stored_names(each)
        return Names()

    def _json(self, path: str, owner: int | None = None) -> dict[str, Any]:
        return _table(_loaded(self._read(path, owner)))

    def _list(self, path: str, owner: int | None) -> list[Any]:
        found = _loaded(self._read(path, owner))
        return found if isinstance(found, list) else []

    def _read(self, path: str, owner: int | None = None) -> bytes | None:
        path = self._root + path
        try:
            if owner is None:
                return _content(os.open(path, _FLAGS), None)
            return _content(_opened_level_by_level(path), owner)
        except (OSError, ValueError):  # ValueError: a zero byte, from a configuration
            return None

    def _folders(self, path: str) -> list[str]:
        try:
            return os.listdir(self._root + path)  # noqa: PTH208  # names alone
        except OSError:
            return []


def _content(fd: int, owner: int | None) -> bytes | None:
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or owner not in (None, status.st_uid):
            return None
        most = _LEN_MAX if owner is None else _LEN_MAX_OF_USER
        with open(fd, "rb", closefd=False) as file:
            content = file.read(most + 1)
        return content if len(content) <= most else None
    finally:
        os.close(fd)


def _opened_level_by_level(path: str) -> int:
    """Open a file through no links and on local file systems alone; OSError."""
    if not _is_local(path):
        raise PermissionError
    fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    *folders, name = path.strip("/").split("/")
    for folder in folders:
        before, flags = fd, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(folder, flags, dir_fd=before)
        finally:
            os.close(before)
    try:
        return os.open(name, _FLAGS | os.O_NOFOLLOW, dir_fd=fd)
    finally:
        os.close(fd)


def _is_local(path: str) -> bool:
    """Return whether the file system at a path answers by itself, without asking it."""
    deepest, kind = "", ""
    for mount in mounts.read():
        folder = mount.folder
        inside = path == folder or path.startswith(folder.rstrip("/") + "/")
        if inside and len(folder) >= len(deepest):
            deepest, kind = folder, mount.kind
    return kind in _LOCAL


def _docker_names(found: dict[str, Any]) -> Names:
    labels = _table(_table(found.get("Config")).get("Labels"))
    names = _kubernetes(labels)
    return names.completed_by(Names(name=_text(found.get("Name")).removeprefix("/")))


def _stored_names(found: dict[str, Any]) -> Names:
    """Return the names in an entry of containers.json; CRI-O's are in its metadata."""
    about = _table(_loaded(_text(found.get("metadata")).encode()))
    names = found.get("names")
    first = _text(names[0]) if isinstance(names, list) and names else ""
    crio = Names(_text(about.get("container-name")), _text(about.get("pod-name")))
    return crio.completed_by(Names(name=first)) if crio.pod else Names(name=first)


def _annotated(found: dict[str, Any]) -> Names:
    return _kubernetes(_table(found.get("annotations")))


def _kubernetes(texts: dict[str, Any]) -> Names:
    def first(keys: tuple[str, ...]) -> str:
        return next((_text(texts[key]) for key in keys if key in texts), "")

    return Names(first(_NAME_KEYS), first(_POD_KEYS), first(_NAMESPACE_KEYS))


def _loaded(raw: bytes | None) -> Any:
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(raw or b"null")
    return None


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    """Return a text; JSON can hold lone surrogates, which cannot be encoded."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else ""
