"""`tccap check`: what works on this machine, and what is missing.

One line a finding: a mark, the subject, and what to do where something is missing. It
runs with the engine's Python and asks the same `features`, so it sees what the engine
will see. The exit status is 0 when a capture will work.

What needs bcc is imported where it is used: that bcc is missing is a finding, too.
"""

import ctypes
import importlib.metadata
import importlib.util
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tccap import __version__
from tccap.bpf import bcclib, features
from tccap.engine import limits, privileges
from tccap.errors import TccapError
from tccap.front import launcher
from tccap.paths import SCRIPT, TOP

if TYPE_CHECKING:
    from tccap.tls.inspector import Inspector

OK = "ok"
NOTE = "note"  # not as it could be, but packets are captured
MISSING = "missing"  # no capture without it

_INSTALL = "run sudo ./install.sh in a checkout of tccap"
# 4.0 knows one extcap folder for all users, later versions say which is which.
_EXTCAP_FOLDER = re.compile(
    r"^(?:(?:Global|Personal) )?Extcap path:\s+(.+)$", re.MULTILINE
)
_NO_SECCOMP = "processes cannot be confined"
_ALLOW = (
    "boot a kernel with CONFIG_SECCOMP_FILTER, on x86_64 or aarch64; in a container, "
    "allow seccomp and prctl"
)
_MORE_USERS = "map more user ids into this container to give processes users of theirs"
_NEEDS_NAMESPACES = "libraries are not inspected; allow CAP_SYS_ADMIN"
_VERSION = re.compile(r"\d+(?:\.\d+)+")


class Finding(NamedTuple):
    """One line of the answer."""

    mark: str
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.mark:8} {self.subject:16} {self.text}"


Check = Callable[[], Iterator[Finding]]


def main() -> int:
    """Print all findings; return 0 when a capture will work."""
    # The reader may stop (| head), and the user may give up (Ctrl-C): quietly.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    limits.lift_memory_lock_limit()
    shown = [_print(finding) for finding in findings(CHECKS)]
    missing = [finding for finding in shown if finding.mark == MISSING]
    sys.stdout.write(f"{_next_step(missing)}\n")
    return 1 if missing else 0


def _next_step(missing: list[Finding]) -> str:
    if not missing:
        return f"A capture will work: {_sudo()}{_command()}"
    first = missing[0]
    return f"No capture will work yet. Begin with {first.subject}: {first.text}"


def findings(checks: "dict[str, Check]") -> Iterator[Finding]:
    """Yield what the checks find; one that fails is a finding, too."""
    for subject, check in checks.items():
        try:
            yield from check()
        except TccapError as error:
            yield Finding(MISSING, subject, str(error))
        except Exception as error:  # noqa: BLE001  # the other checks go on
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            yield Finding(MISSING, subject, f"could not be checked: {reason}")


def _print(finding: Finding) -> Finding:
    sys.stdout.write(f"{finding}\n")
    sys.stdout.flush()
    return finding


def _command() -> str:
    if shutil.which("tshark", path=_wireshark_path()):
        return "tshark -C tccap -i tccap-any"
    return "tccap -i any -w FILE.pcapng"


def _sudo() -> str:
    """Return what this was started with; root needs none, and may have none."""
    return "sudo " if "SUDO_UID" in os.environ else ""


def _program() -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding(
        OK, "tccap", f"{__version__} in {TOP}, Python {python} ({sys.executable})"
    )


def _rights() -> Iterator[Finding]:
    if os.geteuid() == 0:
        privileges.need()
        yield Finding(OK, "rights", "root")
    else:
        launcher.sweep()  # an engine, with nothing to do
        yield Finding(OK, "rights", f"the group {launcher.GROUP}'s, through sudo")


def _bcc() -> Iterator[Finding]:
    yield Finding(OK, "bcc", bcclib.bcc().__version__)


def _python_packages() -> Iterator[Finding]:
    with Path(TOP, "pyproject.toml").open("rb") as file:
        wanted = tomllib.load(file)["project"]["dependencies"]
    for requirement in wanted:
        name, least = requirement.split(">=")
        yield _python_package(name, least)


def _python_package(name: str, least: str) -> Finding:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(MISSING, name, f"is not there: {_INSTALL}")
    if _numbers(version) < _numbers(least):
        text = f"{version} is too old, {least} is needed: {_INSTALL}"
        return Finding(MISSING, name, text)
    return Finding(OK, name, version)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def _libpcap() -> Iterator[Finding]:
    for name in ("libpcap.so.1", "libpcap.so.0.8"):  # Debian keeps an older name
        try:
            libpcap = ctypes.CDLL(name)
        except OSError:
            continue
        libpcap.pcap_lib_version.restype = ctypes.c_char_p
        text = libpcap.pcap_lib_version().decode()
        yield Finding(OK, "libpcap", _first_version(text))
        return
    text = "is not there: capture filters need it (Debian: apt install libpcap0.8)"
    yield Finding(NOTE, "libpcap", text)


def _kernel() -> Iterator[Finding]:
    yield Finding(OK, "kernel", f"Linux {os.uname().release}, {os.uname().machine}")
    if os.geteuid() != 0:
        text = "what it can do was not tried, that needs root: sudo tccap check"
        yield Finding(NOTE, "kernel", text)
        return
    if importlib.util.find_spec("bcc") is None:
        text = "what it can do was not tried, that needs bcc"
        yield Finding(NOTE, "kernel", text)
        return
    if privileges.missing():
        text = "what it can do was not tried, that needs these rights"
        yield Finding(NOTE, "kernel", text)
        return
    yield from findings({"classifiers": _classifiers, "probes": _probes})


def _classifiers() -> Iterator[Finding]:
    from tccap.check import probes

    if features.has_ring_buffer():
        yield Finding(OK, "ring buffer", "BPF programs can use it")
    else:
        text = "refused to BPF programs: they need Linux 5.8 or later"
        yield Finding(MISSING, "ring buffer", text)
    try:
        way = probes.attach_classifiers()
    except PermissionError:
        text = "load; that they attach was not tried, which needs CAP_SYS_ADMIN"
        yield Finding(NOTE, "classifiers", text)
    else:
        yield Finding(OK, "classifiers", f"load, and attach through {way}")


def _probes() -> Iterator[Finding]:
    from tccap.check import probes

    uprobe = probes.try_uprobe()
    yield _optional("kprobes", features.has_kprobes(), "programs attach")
    yield _optional("uprobes", uprobe.fired, "programs attach and run")
    if uprobe.fired:
        text = "BPF programs may read it"
        yield _optional("kernel memory", uprobe.reads_kernel_memory, text)


def _optional(subject: str, works: bool, text: str) -> Finding:
    if works:
        return Finding(OK, subject, text)
    text = "not on this kernel; packets are captured, less is known of their processes"
    return Finding(NOTE, subject, text)


def _sandboxes() -> Iterator[Finding]:
    from tccap.check import sandboxes

    subject = "sandboxes"
    if os.geteuid() != 0:
        text = "were not tried, that needs root: sudo tccap check"
        yield Finding(NOTE, subject, text)
        return
    entered = sandboxes.enter()
    if entered.refusal:
        yield Finding(MISSING, subject, f"{_NO_SECCOMP} ({entered.refusal}): {_ALLOW}")
    elif entered.is_own_user:
        yield Finding(OK, subject, "processes get a user of their own, and seccomp")
    else:
        text = f"as user {entered.uid}, without rights: {_MORE_USERS}"
        yield Finding(NOTE, subject, text)
    if refusal := sandboxes.leave_network():
        text = f"no new network namespaces ({refusal}): {_NEEDS_NAMESPACES}"
        yield Finding(NOTE, "TLS secrets", text)


def _btf() -> Iterator[Finding]:
    if features.has_btf():
        yield Finding(OK, "BTF", str(features.BTF))
    else:
        yield _optional("BTF", works=False, text="")


def _tls() -> Iterator[Finding]:
    from tccap.tls import libraries
    from tccap.tls.inspector import Inspector

    try:
        paths = libraries.common()
    except OSError as error:
        text = f"{libraries.LDCONFIG} cannot be run: {error.strerror}"
        yield Finding(NOTE, "TLS secrets", text)
        return
    with Inspector() as inspector:
        for path in paths:
            yield from _secrets_from(path, inspector)


def _secrets_from(path: str, inspector: "Inspector") -> Iterator[Finding]:
    from tccap.tls import mapped

    fd = mapped.open_file(path)
    if fd is None:
        return
    try:
        found = inspector.inspect(fd)
    finally:
        os.close(fd)
    if found.refusal:
        yield Finding(NOTE, "TLS secrets", f"not from {path}: {found.refusal}")
    elif found.sites:  # a library of NSS only helps to read what others hold
        yield Finding(OK, "TLS secrets", f"from {found.library}, {path}")


def _lockdown() -> Iterator[Finding]:
    mode = features.lockdown()
    if mode is None:
        yield Finding(OK, "lockdown", "the kernel reports none")
    elif mode == "confidentiality":
        text = f"{mode}: the kernel may keep its memory from BPF programs"
        yield Finding(NOTE, "lockdown", text)
    else:
        yield Finding(OK, "lockdown", mode)


def _locked_memory() -> Iterator[Finding]:
    unlimited = resource.RLIM_INFINITY
    if os.geteuid() == 0 or resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] == unlimited:
        yield Finding(OK, "locked memory", "the limit can be lifted")
    else:
        limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] >> 10
        text = f"limited to {limit} KiB, which matters before Linux 5.11"
        yield Finding(NOTE, "locked memory", text)


def _wireshark() -> Iterator[Finding]:
    path = _wireshark_path()
    found = [shutil.which(name, path=path) for name in ("tshark", "wireshark")]
    for program in filter(None, found):
        yield from _one_wireshark(program)
    if not any(found):
        text = (
            "is not here, so captures go into files; to see packets here, install it, "
            "then run sudo ./install.sh again"
        )
        yield Finding(NOTE, "Wireshark", text)


def _wireshark_path() -> str:
    return f"{os.environ.get('PATH', os.defpath)}:/usr/local/bin:/usr/bin"


def _one_wireshark(program: str) -> Iterator[Finding]:
    name = os.path.basename(program)  # noqa: PTH119
    version = _first_version(_output(program, "--version"))
    yield Finding(OK, name, f"{version} ({program})")
    if name != "tshark":
        return  # wireshark 4.0 does not list its folders; they are tshark's
    folders = _EXTCAP_FOLDER.findall(_output(program, "-G", "folders"))
    links = [link for folder in folders for link in _links(Path(folder))]
    ours = [link for link in links if link.resolve() == Path(SCRIPT)]
    if ours:
        yield Finding(OK, f"{name} extcap", f"{ours[0]}")
        return
    place = " and ".join(folders) or "no folder"
    text = f"no link to {SCRIPT} in {place}: {_INSTALL}"
    if links:
        text = f"{links[0]} belongs to another copy of tccap: {_INSTALL}"
    yield Finding(MISSING, f"{name} extcap", text)


def _links(folder: Path) -> list[Path]:
    """Return the copies of tccap that Wireshark runs from a folder."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    name = Path(SCRIPT).name
    return [e for e in entries if e.resolve().name == name and os.access(e, os.X_OK)]


def _output(*command: str) -> str:
    # Wireshark complains of root on stderr.
    result = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
        timeout=120,  # slow machines exist; this is against hanging
    )
    return result.stdout.decode(errors="replace")


def _first_version(text: str) -> str:
    found = _VERSION.search(text)
    return found[0] if found else "of unknown version"


CHECKS: "dict[str, Check]" = {
    "tccap": _program,
    "rights": _rights,
    "bcc": _bcc,
    "Python packages": _python_packages,
    "libpcap": _libpcap,
    "kernel": _kernel,
    "sandboxes": _sandboxes,
    "BTF": _btf,
    "TLS secrets": _tls,
    "lockdown": _lockdown,
    "locked memory": _locked_memory,
    "Wireshark": _wireshark,
}
