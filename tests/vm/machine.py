"""One virtual machine: boots a kernel over the host's files and runs one job."""

import asyncio
import os
import re
import shlex
import shutil
import signal
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from vm.cache import CachedKernel

REPO = Path(__file__).resolve().parents[2]
GUEST_SHARE = Path("/run/tccap-vm")
GUEST_ROOT_TAG, GUEST_SHARE_TAG = "tccap.root", "tccap.share"
UP = "tccap-vm: "
CONSOLE_TAIL_LINES = 40
STOP_GRACE_S = 10

# A terminal's escape sequences and carriage returns.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[c()][A-Z0-9]?|\r")


@dataclass(frozen=True)
class Job:
    """A command for the guest, with the environment it needs."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)

    def script(self) -> str:
        """Return the job as a shell script."""
        exports = [
            f"export {name}={shlex.quote(value)}"
            for name, value in self.environment.items()
        ]
        folder = shlex.quote(str(REPO))
        return "\n".join([f"cd {folder}", *exports, shlex.join(self.command), ""])


@dataclass
class Outcome:
    """The result of a machine; status is None if it did not finish its job."""

    status: int | None = None
    problem: str = ""
    boot_s: float | None = None
    total_s: float = 0.0
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=CONSOLE_TAIL_LINES))


@dataclass(frozen=True)
class Machine:
    """A kernel to boot, and how long it may take.

    One processor by default: emulated processors often wait for each other, and with
    two the guest loses its cheap clock as well.
    """

    kernel: CachedKernel
    deadline_s: float
    cpus: int = 1
    memory: str = "2G"

    async def run(
        self, job: Job, share: Path, on_line: Callable[[str], None]
    ) -> Outcome:
        """Run a job; pass each line of its output on. The guest sees share, too."""
        self._prepare(share, job)
        began, outcome = time.monotonic(), Outcome()
        try:
            async with asyncio.timeout(self.deadline_s), self._process(share) as lines:
                async for line in lines:
                    self._take(line, began, outcome, on_line)
        except TimeoutError:
            outcome.problem = f"was stopped after {self.deadline_s:.0f} s"
        outcome.total_s = time.monotonic() - began
        outcome.status = _status(share)
        if outcome.status is None and not outcome.problem:
            outcome.problem = "went down before its job was done"
        return outcome

    @staticmethod
    def _take(
        line: str, began: float, outcome: Outcome, on_line: Callable[[str], None]
    ) -> None:
        outcome.tail.append(line)
        if outcome.boot_s is None and line.startswith(UP):
            outcome.boot_s = time.monotonic() - began
        # The lines before are the boot's; if it fails, the tail has them.
        if outcome.boot_s is not None:
            on_line(line)

    @asynccontextmanager
    async def _process(self, share: Path) -> AsyncIterator[AsyncIterator[str]]:
        process = await asyncio.create_subprocess_exec(
            *self._command(
                share, "--show-boot-console", "--script-sh", str(share / "enter")
            ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            limit=1 << 20,
        )
        assert process.stdout is not None
        try:
            yield _lines(process.stdout)
            await process.wait()
        finally:
            await _stop(process)

    async def attend(self, job: Job, share: Path) -> Outcome:
        """Run a job on this terminal, which is the guest's console meanwhile."""
        self._prepare(share, job)
        process = await asyncio.create_subprocess_exec(
            *self._command(share, "--shell", str(share / "enter"))
        )
        await process.wait()
        return Outcome(_status(share), "went down before the shell ended")

    def _prepare(self, share: Path, job: Job) -> None:
        """Write the job and `enter`, which starts it, into the shared folder."""
        shutil.copy(Path(__file__).with_name("guest.sh"), share)
        (share / "job").write_text(job.script())
        mount = "mount -t 9p -o trans=virtio,version=9p2000.L,access=any"
        kernel = shlex.quote(str(self.kernel.root))
        (share / "enter").write_text(
            "#!/bin/sh\nset -e\n"
            f"mkdir {GUEST_SHARE}\n"
            f"{mount} {GUEST_SHARE_TAG} {GUEST_SHARE}\n"
            f"exec sh {GUEST_SHARE}/guest.sh {GUEST_SHARE} {kernel}\n"
        )
        (share / "enter").chmod(0o755)

    def _command(self, share: Path, *start: str) -> list[str]:
        return [
            *(str(REPO / ".venv/bin/virtme-run"), "--kimg", str(self.kernel.image)),
            *("--mods", "auto", "--user", "root", "--disable-kvm", "--force-9p"),
            *("--name", "tccap", "--cpus", str(self.cpus), "--memory", self.memory),
            *("--kopt", "loglevel=3", "--kopt", "panic=-1"),
            # Without it container runtimes load profiles, and nothing here loads any.
            *("--kopt", "apparmor=0", *start),
            *("--qemu-opts", "-no-reboot"),
            *_shared_folder("root", Path("/"), GUEST_ROOT_TAG, "readonly=on"),
            *_shared_folder("share", share, GUEST_SHARE_TAG, "readonly=off"),
        ]


def _shared_folder(name: str, folder: Path, tag: str, access: str) -> Iterator[str]:
    path = str(folder).replace(",", ",,")
    yield "-fsdev"
    yield f"local,id={name},path={path},security_model=none,multidevs=remap,{access}"
    yield "-device"
    yield f"virtio-9p-pci,fsdev={name},mount_tag={tag}"


@contextmanager
def shared_folder() -> Iterator[Path]:
    """Provide a folder to share with a guest, for as long as the guest lives.

    Always in /tmp: virtme-ng's init hides the host's /var/tmp and /var/cache from
    the guest, and the guest's first command comes from this folder.
    """
    with tempfile.TemporaryDirectory(prefix="tccap-vm-", dir="/tmp") as folder:
        yield Path(folder)


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    async for line in stream:
        yield _CONTROL.sub("", line.decode(errors="replace")).rstrip()


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End virtme-run and qemu, which is its child and in its process group."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sent)
        except ProcessLookupError:
            break
        try:
            async with asyncio.timeout(STOP_GRACE_S):
                await process.wait()
        except TimeoutError:
            continue
    await process.wait()


def _status(share: Path) -> int | None:
    try:
        return int((share / "status").read_text())
    except (OSError, ValueError):
        return None
