"""Debian's kernel packages, from any suite, by an apt configuration of their own.

The machine's own apt is not changed: its sources only name the mirror, and all that
apt writes goes into the given folder.
"""

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vm.errors import VmError
from vm.table import Kernel

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True)
class KernelPackages:
    """The packages that make up one kernel, and their suite."""

    suite: "Suite"
    release: str
    names: tuple[str, ...]

    def unpack(self, root: Path, scratch: Path) -> None:
        """Download the packages into scratch and unpack them below root."""
        self.suite.apt(["apt-get", "download", *self.names], cwd=scratch)
        for archive in sorted(scratch.glob("*.deb")):
            _run(["dpkg", "-x", str(archive), str(root)])


@dataclass(frozen=True)
class Suite:
    """One suite of the archive, with its package lists below folder."""

    name: str
    folder: Path

    def update(self) -> None:
        """Fetch the suite's package list."""
        for part in ("lists/partial", "cache/archives/partial"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        (self.folder / "status").touch()
        source = f"deb [signed-by={KEYRING}] {mirror_of(self.name)} {self.name} main\n"
        (self.folder / "sources.list").write_text(source)
        self.apt(["apt-get", "update", "--error-on=any"])

    def apt(self, command: Sequence[str], cwd: Path | None = None) -> str:
        """Run an apt program on this suite alone and return its output."""
        options = {
            "Dir::Etc::sourcelist": self.folder / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State::lists": self.folder / "lists",
            "Dir::State::status": self.folder / "status",
            "Dir::Cache": self.folder / "cache",
            # Suites past their end of life have an expired signature date.
            "Acquire::Check-Valid-Until": "false",
            # The user _apt cannot write below root's folders.
            "APT::Sandbox::User": "root",
        }
        words = [f"-o{key}={value}" for key, value in options.items()]
        return _run([command[0], *words, *command[1:]], cwd)

    def packages_of(self, kernel: Kernel) -> KernelPackages | None:
        """Return the packages of a kernel, or None when the suite has none."""
        releases = self._releases()
        release = next(filter(kernel.is_of_series, releases), None)
        if release is None and kernel.or_newer:
            release = next(iter(releases), None)
        if release is None:
            return None
        # Newer Debian splits the kernel: linux-image-X needs linux-binary-X,
        # linux-modules-X and so on, all of which end in the same release.
        names = self._needed_by(f"linux-image-{release}")
        return KernelPackages(
            self, release, tuple(n for n in names if n.endswith(f"-{release}"))
        )

    def _releases(self) -> list[str]:
        """Return the kernels' releases: the suite's default, then the others."""
        arch = _run(["dpkg", "--print-architecture"]).strip()
        chosen = self._needed_by(f"linux-image-{arch}")
        offered = self.apt(["apt-cache", "pkgnames", "linux-image-"]).split()
        image = re.compile(rf"linux-image-(\d[^-]*(?:-\d+)?-{arch})")
        found = map(
            image.fullmatch, [*chosen, *sorted(offered, key=_numbers, reverse=True)]
        )
        return list(dict.fromkeys(match[1] for match in found if match))

    def _needed_by(self, package: str) -> list[str]:
        kinds = ("recommends", "suggests", "conflicts", "breaks", "replaces")
        excluded = [f"--no-{kind}" for kind in (*kinds, "enhances")]
        listing = self.apt(
            ["apt-cache", "depends", "--recurse", *excluded, package]
        ).splitlines()
        return [line for line in listing if line.startswith("linux-")]


def find(kernel: Kernel, lists: Path) -> KernelPackages:
    """Look for a kernel in its suites; package lists are kept below lists."""
    failure: VmError | None = None
    for name in kernel.suites:
        suite = Suite(name, lists / name)
        try:
            suite.update()
            packages = suite.packages_of(kernel)
        except VmError as error:
            failure = error
        else:
            if packages:
                return packages
    raise failure or VmError(
        f"Debian's {' and '.join(kernel.suites)} no longer have Linux {kernel.name}: "
        "name another suite or another kernel in kernels.toml."
    )


def mirror_of(suite: str) -> str:
    """Return the address of the archive with this suite, from the machine's sources."""
    label = "Debian-Security" if suite.endswith("-security") else "Debian"
    for line in _run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)"]
    ).splitlines():
        origin, its_label, address = line.split("|")
        if (origin, its_label) == ("Debian", label):
            return address
    raise VmError(f"This machine's apt has no source of {label} to take kernels from.")


def _numbers(release: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", release)]


def _run(command: Sequence[str], cwd: Path | None = None) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise VmError(f"{command[0]} failed: {last}")
    return done.stdout
