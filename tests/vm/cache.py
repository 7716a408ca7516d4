"""Unpacked kernels, kept between runs.

An entry is valid only with its seal, written last, and only while the entry still
matches the seal; any other is removed and fetched again.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vm import debian
from vm.errors import VmError
from vm.table import Kernel

SEAL = "seal.json"


@dataclass(frozen=True)
class CachedKernel:
    """A kernel ready to boot: root has its modules below lib/modules."""

    root: Path
    release: str
    image: Path


def folder() -> Path:
    """Return the cache folder."""
    return Path(os.environ.get("TCCAP_VM_CACHE", "/var/cache/tccap-vm"))


def ready(kernel: Kernel) -> CachedKernel:
    """Return a kernel from the cache; fetch it first if necessary."""
    with _locked(kernel):
        entry = folder() / kernel.name
        if (cached := _unsealed(entry)) is None:
            shutil.rmtree(entry, ignore_errors=True)
            _fetch(kernel, entry)
            cached = _unsealed(entry)
        if cached is None:
            raise VmError(f"The unpacked kernel in {entry} does not stay as it was.")
        return cached


@contextmanager
def _locked(kernel: Kernel) -> Iterator[None]:
    folder().mkdir(parents=True, exist_ok=True)
    with (folder() / f".{kernel.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(kernel: Kernel, entry: Path) -> None:
    packages = debian.find(kernel, folder() / ".apt")
    prefix = f".{kernel.name}-"
    for stale in folder().glob(f"{prefix}*"):
        shutil.rmtree(stale)
    with tempfile.TemporaryDirectory(dir=folder(), prefix=prefix) as temporary:
        scratch, root = Path(temporary, "debs"), Path(temporary, "root")
        scratch.mkdir()
        root.mkdir()
        packages.unpack(root, scratch)
        _complete(root, packages.release)
        seal = json.dumps(_state(root, packages.release))
        (root / SEAL).write_text(seal)
        root.rename(entry)


def _complete(root: Path, release: str) -> None:
    # Debian moved from /lib to /usr/lib; depmod and modprobe differ in which
    # one they look at.
    if not (root / "lib").exists():
        (root / "lib").symlink_to("usr/lib")
    subprocess.run(["depmod", "-b", str(root), release], check=True)
    shutil.rmtree(root / "usr/share", ignore_errors=True)


def _unsealed(entry: Path) -> CachedKernel | None:
    try:
        seal = json.loads((entry / SEAL).read_text())
        release = seal["release"]
        intact = seal == _state(entry, release)
    except (OSError, ValueError, KeyError, TypeError, VmError):
        return None
    return CachedKernel(entry, release, _image(entry, release)) if intact else None


def _state(root: Path, release: str) -> dict[str, str | int]:
    """Return a fast summary of an unpacked kernel that reveals damage."""
    modules = [p for p in (root / "lib/modules" / release).rglob("*") if p.is_file()]
    image = _image(root, release).read_bytes()
    return {
        "release": release,
        "image": hashlib.sha256(image).hexdigest(),
        "files": len(modules),
        "bytes": sum(path.stat().st_size for path in modules),
    }


def _image(root: Path, release: str) -> Path:
    for place in (f"boot/vmlinuz-{release}", f"usr/lib/modules/{release}/vmlinuz"):
        if (root / place).is_file():
            return root / place
    raise VmError(f"The packages of Linux {release} have no kernel image.")
