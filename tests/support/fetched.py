"""Packages that tests fetch from registries, kept between runs."""

import base64
import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CACHE = Path(os.environ.get("TCCAP_TESTS_CACHE", "/var/cache/tccap-tests"))

_UNPACK = """
const [from, to] = process.argv.slice(-2);
const {readFileSync, writeFileSync} = require("fs");
writeFileSync(to, require('zlib').brotliDecompressSync(readFileSync(from)));
"""


def kept(name: str, fill: Callable[[Path], None]) -> Path:
    """Return a folder that ``fill`` has filled, now or in an earlier run.

    A folder that ``fill`` did not finish does not stay, nor do files beside it.
    """
    folder = CACHE / name
    with locked(name):
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
                made = Path(scratch, "made")
                made.mkdir()
                fill(made)
                made.rename(folder)
    return folder


def wheels(hashes: dict[str, str]) -> Path:
    """Return a folder for PYTHONPATH with these wheels, without their dependencies.

    The keys are "name==version", the values SHA-256.
    """

    def install(made: Path) -> None:
        run_pip("install", hashes, "--target", str(made))

    return kept("wheels-" + "-".join(hashes), install)


def npm(package: str, sha512: str) -> Path:
    """Return a folder with the files of a package of npm, "name@version".

    ``sha512`` is in base64, as npm has it.
    """

    def unpack(made: Path) -> None:
        pack = ("npm", "pack", "--silent", "--pack-destination", made.parent, package)
        subprocess.run(pack, check=True, stdout=subprocess.DEVNULL)
        [archive] = made.parent.glob("*.tgz")
        digest = hashlib.sha512(archive.read_bytes()).digest()
        assert base64.b64encode(digest).decode() == sha512, package
        subprocess.run(["tar", "-xzf", archive, "-C", made], check=True)

    return kept("npm-" + package.replace("/", "-"), unpack)


def unpack_brotli(packed: Path, to: Path) -> None:
    """Unpack a file by Node.js, which comes with npm."""
    subprocess.run(["node", "-e", _UNPACK, packed, to], check=True)


def run_pip(command: str, hashes: dict[str, str], *options: str) -> None:
    """Run ``pip download`` or ``pip install`` for exactly these wheels."""
    quiet = ("--quiet", "--disable-pip-version-check")
    strict = ("--no-deps", "--only-binary", ":all:", "--require-hashes")
    with tempfile.NamedTemporaryFile("w") as wanted:
        for pin, sha256 in hashes.items():
            wanted.write(f"{pin} --hash=sha256:{sha256}\n")
        wanted.flush()
        pip = (sys.executable, "-m", "pip", command, *quiet, *strict)
        subprocess.run([*pip, "--requirement", wanted.name, *options], check=True)


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock for one entry of the cache."""
    file = (CACHE / name).with_name(f".{Path(name).name}.lock")
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
