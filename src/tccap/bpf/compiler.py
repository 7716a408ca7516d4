"""Compiles C to an Object with bcc, or returns what was compiled before.

The compiler takes longer than all the rest of a capture's start. Its results are
valid for the same text, compiler and kernel, and are kept where only root can write. It
runs in a process of its own (compilation.py), which ends with the thread that waits.
"""

import contextlib
import hashlib
import importlib.util
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tccap.bpf.bcclib import CompileError, bcc
from tccap.bpf.compilation import REFUSED
from tccap.bpf.objects import Object
from tccap.errors import TccapError
from tccap.host.rootcache import RootCache
from tccap.paths import BPF_DIR, SCRIPT, engine_python

# Part of the cache's file names: raise it when Object or compilation.FLAGS changes.
FORMAT = 2
_CACHE = RootCache("bpf", at_most=64)
_OBJECT_LEN_MAX = 64 << 20
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


def compiled(texts: Sequence[str], defines: dict[str, int | str]) -> list[Object]:
    """Return the programs of C texts, compiled now, side by side, or before.

    ``defines`` become -D flags. TccapError without bcc, CompileError if it fails.
    """
    flags = [f"-D{name}={value}" for name, value in defines.items()]
    names = _names(texts, flags)
    with contextlib.ExitStack() as running:
        named = zip(texts, names, strict=True)
        started = [_start(text, name, flags, running) for text, name in named]
        return [finish() for finish in started]


def _start(
    text: str, name: str, flags: list[str], running: contextlib.ExitStack
) -> Callable[[], Object]:
    """Begin to compile; the function that is returned waits for the Object."""
    kept = _CACHE.get(name, Object.from_bytes)
    if kept:
        return lambda: kept
    bcc()  # or TccapError, which says what to install
    process = running.enter_context(_started(text, flags))
    running.callback(process.kill)
    return lambda: _finished(process, name)


def _started(text: str, flags: list[str]) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [engine_python(), "-I", SCRIPT, "compiler"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=_ENVIRONMENT,
        cwd="/",
    )
    assert process.stdin
    with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
        stdin.write(json.dumps([text, flags]).encode())
    return process


def _finished(process: "subprocess.Popen[bytes]", name: str) -> Object:
    """Return the process's Object; keep it for the next time."""
    assert process.stdout
    answer = process.stdout.read(_OBJECT_LEN_MAX)
    process.stdout.close()
    status = process.wait()
    if status == REFUSED:
        raise CompileError(answer.decode(errors="replace"))
    if status:
        raise CompileError(_why_ended(status))
    try:
        made = Object.from_bytes(answer)
    except TccapError as error:
        raise CompileError(str(error)) from None
    _CACHE.keep(name, made.to_bytes())
    return made


def _why_ended(status: int) -> str:
    if status < 0:
        return f"the compiler was ended by {signal.Signals(-status).name}"
    return f"the compiler ended with status {status}"


def _names(texts: Sequence[str], flags: list[str]) -> Iterator[str]:
    """Yield for each text a hash of everything that its result depends on."""
    kernel = os.uname()
    parts = (
        *(FORMAT, _bcc_version(), kernel.release, kernel.version, kernel.machine),
        *(flags, _headers()),
    )
    common = hashlib.sha256(repr(parts).encode())
    for text in texts:
        one = common.copy()
        one.update(text.encode())
        yield one.hexdigest()


def _bcc_version() -> str:
    """Return bcc's version without importing it, which is slow."""
    package = importlib.util.find_spec("bcc")
    if not package or not package.origin:
        return str(bcc().__version__)  # or TccapError, which says what to install
    return Path(package.origin).with_name("version.py").read_text("ascii")


def _headers() -> list[tuple[str, bytes]]:
    files = sorted(Path(BPF_DIR).rglob("*.h"))
    return [(str(file), file.read_bytes()) for file in files]
