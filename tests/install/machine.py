"""Machines to install on: root file systems that are changed and thrown away.

A fresh Debian is made once by debootstrap and kept as a tarball. A machine is
a stack of overlay layers on it, so a test can break what it likes. Everything
is mounted and run inside namespaces that end with the command: whatever kills
a test leaves no mount and no process behind.
"""

import os
import re
import shutil
import site
import subprocess
from collections.abc import Mapping
from pathlib import Path

from support import running

CHECKOUT = "/home/ada/tccap"
TOP = "/usr/local/lib/tccap"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
USERS = {"root": 0, "ada": 1000}

_REPOSITORY = Path(__file__).parents[2]
_CACHE = Path("/var/cache/tccap-tests")
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_SOURCES = "/etc/apt/sources.list"
# The network configuration of this machine, which a fresh one gets. One of another
# release gets all but the sources, which debootstrap has written.
_BUT_SOURCES = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/pip.conf",
    "/etc/apt/keyrings",
    "/etc/apt/trusted.gpg.d",
    "/usr/share/keyrings",
    _CERTIFICATES,
)
_NETWORK_FILES = (*_BUT_SOURCES, _SOURCES, f"{_SOURCES}.d")
_NETWORK_VARIABLES = re.compile(r"(https?|no|all)_proxy|SSL_CERT_FILE", re.IGNORECASE)
# The kernel kills the command when the process that waits for it ends.
_UNSHARE_MOUNTS = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--mount", "--fork", "--kill-child"),
)
_UNSHARE = (*_UNSHARE_MOUNTS, "--pid")
_ENTER = """
set -e
lower=$1 layer=$2 archives=$3 network=$4 user=$5 folder=$6
shift 6
root=$layer/root
mount -t overlay overlay "$root" \
    -o "lowerdir=$lower,upperdir=$layer/upper,workdir=$layer/work"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount --bind "$archives" "$root/var/cache/apt/archives"
if [ "$network" = none ]; then ip link set lo up; fi
exec chroot --userspec="$user:$user" --groups="$user" "$root" \
    env --chdir="$folder" "$@"
"""


class Machine:
    """One machine: a folder that takes its changes to what is below."""

    def __init__(self, layer: Path, *below: Path) -> None:
        self._layer = layer
        self._below = below
        for part in ("upper", "work", "root"):
            (layer / part).mkdir(parents=True)

    def another(self, layer: Path) -> "Machine":
        """Return a machine that starts as this one is now."""
        return Machine(layer, self._layer / "upper", *self._below)

    def run(  # noqa: PLR0913  # each is one thing that a test may want
        self,
        *command: str,
        user: str = "root",
        network: bool = False,
        own_pids: bool = True,
        folder: str = "/",
        variables: Mapping[str, str] | None = None,
        timeout_s: int = 60,
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end, with a network of its own or with this machine's.

        Without pids of its own, the command has to end what it starts.
        """
        archives = _CACHE / "archives"
        (archives / "partial").mkdir(parents=True, exist_ok=True)
        places = [":".join(map(str, self._below)), str(self._layer), str(archives)]
        return subprocess.run(
            [
                *(_UNSHARE if own_pids else _UNSHARE_MOUNTS),
                *([] if network else ["--net"]),
                *["sh", "-c", _ENTER, "enter", *places],
                *["ours" if network else "none", str(USERS[user]), folder],
                *command,
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=max(timeout_s, running.DEADLINE_S),
            env=_environment(user, network=network) | dict(variables or {}),
        )

    def add(self, source: Path, to: str, but: tuple[str, ...]) -> None:
        """Copy a folder of ours into it, without names of these patterns."""
        target = self._layer / "upper" / to[1:]
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(*but))

    def shell(self, script: str) -> str:
        """Run a script that must succeed, as root; return what it prints."""
        result = self.run("sh", "-ec", script)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def files(self, *folders: str) -> dict[str, str]:
        """Return the kind, mode, owner and link target of every file."""
        listing = self.shell(
            f"find {' '.join(folders)} -xdev -path /proc -prune -o -path /sys -prune "
            r"-o -path /dev -prune -o -printf '%p\t%y %m %u:%g %l\n'"
        )
        return dict(line.split("\t") for line in listing.splitlines())


def fresh(folder: Path, release: str = "") -> Machine:
    """Return a Debian with nothing installed, a user ada and a checkout of hers.

    ``release`` is a code name; without it, it is this machine's own.
    """
    base = folder / "base"
    base.mkdir(parents=True)
    subprocess.run(["tar", "-xzf", _tarball(release or _own()), "-C", base], check=True)
    _open_network(base, _NETWORK_FILES if not release else _BUT_SOURCES)
    machine = Machine(folder / "fresh", base)
    _add_checkout(machine)
    return machine


def this_one(folder: Path) -> Machine:
    """Return this machine itself, without a network, as a copy that may be changed.

    What a first install would fetch from PyPI it has from where the tests have it.
    """
    machine = Machine(folder / "this", Path("/"))
    machine.shell(
        "chmod 1777 /tmp;"
        f"rm -rf {TOP} /etc/tccap.conf /etc/sudoers.d/tccap;"
        "awk -F: '$3 >= 1000 && $3 < 60000 { print $1 }' /etc/passwd | "
        "while read -r user; do userdel -f $user; done"
    )
    _add_checkout(machine)
    venv = f"{TOP}/venv"
    machine.shell(
        f"/usr/bin/python3 -m venv --system-site-packages --without-pip {venv};"
        f"cd {venv}/lib/*/site-packages;"
        f"echo {site.getsitepackages()[0]} >of-the-tests.pth"
    )
    return machine


def _add_checkout(machine: Machine) -> None:
    but = (".*", "__pycache__", "*.egg-info", "build")
    machine.add(_REPOSITORY, CHECKOUT, but)
    machine.shell(
        "useradd --shell /bin/bash --uid 1000 ada;"
        f"chown -R ada:ada {Path(CHECKOUT).parent}"
    )


def _tarball(release: str) -> Path:
    tarball = _CACHE / f"{release}-{os.uname().machine}.tar.gz"
    if not tarball.exists():
        _CACHE.mkdir(exist_ok=True)
        root = _CACHE / "making"
        shutil.rmtree(root, ignore_errors=True)
        _debootstrap(release, root)
        unfinished = tarball.with_suffix(".new")
        subprocess.run(
            ["tar", "-I", "gzip -1", "-cf", unfinished, "-C", root, "."], check=True
        )
        shutil.rmtree(root)
        unfinished.rename(tarball)
    return tarball


def _debootstrap(release: str, root: Path) -> None:
    # Killed, debootstrap would leave /proc mounted.
    subprocess.run(
        [
            *_UNSHARE,
            *["debootstrap", "--variant=minbase", "--include=ca-certificates"],
            *[release, str(root), _mirror()],
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        env=_environment("root", network=True),
    )


def _own() -> str:
    text = Path("/etc/os-release").read_text(encoding="utf-8")
    found = re.search(r"^VERSION_CODENAME=(\w+)$", text, re.MULTILINE)
    assert found, "/etc/os-release names no release"
    return found[1]


def _mirror() -> str:
    release = _own()
    listing = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found = re.search(rf"^{release} main (\S+)$", listing, re.MULTILINE)
    assert found, f"apt knows no mirror of {release}: apt-get update"
    return found[1]


def _open_network(root: Path, files: tuple[str, ...]) -> None:
    if _SOURCES in files:
        (root / _SOURCES[1:]).unlink(missing_ok=True)
    for name in files:
        source, target = Path(name), root / name[1:]
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        elif source.exists():
            shutil.copyfile(source, target)
    settings = subprocess.run(
        ["apt-config", "dump"], check=True, capture_output=True, text=True
    ).stdout
    wanted = re.findall(r"^Acquire::(?!IndexTargets).*\n", settings, re.MULTILINE)
    (root / "etc/apt/apt.conf.d/99network").write_text("".join(wanted))


def _environment(user: str, *, network: bool) -> dict[str, str]:
    home = "/root" if user == "root" else f"/home/{user}"
    way_out = {k: v for k, v in os.environ.items() if _NETWORK_VARIABLES.fullmatch(k)}
    own = {"PATH": PATH, "HOME": home, "LC_ALL": "C.UTF-8"}
    own["TCCAP_DEADLINE_S"] = str(running.DEADLINE_S)
    return own | (way_out if network else {})
