import hashlib
import os
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tccap.check import inspection
from tccap.errors import TccapError
from tccap.host import rootcache
from tccap.tls import finderprocess, inspector
from tccap.tls.inspector import Inspector
from tccap.tls.knownfiles import Content
from tccap.tls.sites import Inspection, Number, Site
from tccap.tls.sites import Path as Way

SITE = Site(
    address=0x1000,
    file_offset=0x1000,
    kind="line",
    label=Way("rsi", (0,)),
    label_len=None,
    client_random=Way("rdi", (168, 184)),
    secret=Way("rdx", (0,)),
    secret_len=Number(Way("rcx", ()), 4),
)
ANSWER = Inspection("ab" * 20, "OpenSSL", "OpenSSL 3.0.17", (SITE,), "emulation", "")


SRC = str(Path(inspector.__file__).parents[2])
# A finder that serves requests as the real one does.
_SERVING = """
import os, socket, sys
sys.path.insert(0, {!r})
from tccap.tls.finder import forkserver
def inspect():
{}
    sys.stdout.flush()
    return 0
forkserver.ForkServer(socket.socket(fileno=0), inspect).run()
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(rootcache, "TOP", tmp_path / "cache")
    return tmp_path / "cache" / "tls"


@pytest.fixture
def finder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Replace the finder by a program that records each of its runs."""

    def install(body: str) -> Path:
        runs = tmp_path / "runs"
        runs.write_text("")
        script = tmp_path / "finder.py"
        note = f"open({str(runs)!r}, 'a').write('run\\n')"
        script.write_text(
            _SERVING.format(SRC, textwrap.indent(f"{note}\n{body}", "    "))
        )
        monkeypatch.setattr(finderprocess, "SCRIPT", str(script))
        monkeypatch.setattr(finderprocess, "engine_python", lambda: sys.executable)
        return runs

    return install


def answering(answer: Inspection) -> str:
    return f"print({answer.to_json()!r})"


def inspect(path: Path) -> Inspection:
    with path.open("rb") as file, Inspector() as made:
        return made.inspect(file.fileno())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "library"
    made.write_bytes(b"\x7fELF and more")
    return made


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root keeps answers")


@needs_root
@pytest.mark.usefixtures("cache")
def test_an_answer_is_kept_for_the_content(
    finder: Callable[[str], Path], file: Path, tmp_path: Path
) -> None:
    runs = finder(answering(ANSWER))
    copy = tmp_path / "copy"
    copy.write_bytes(file.read_bytes())
    assert [inspect(file), inspect(file), inspect(copy)] == [ANSWER] * 3
    assert runs.read_text() == "run\n"


@needs_root
@pytest.mark.usefixtures("cache")
def test_a_refusal_is_kept_too(finder: Callable[[str], Path], file: Path) -> None:
    refused = Inspection("", "", "", (), "", "No.")
    runs = finder(answering(refused))
    assert [inspect(file), inspect(file)] == [refused] * 2
    assert runs.read_text() == "run\n"


@needs_root
@pytest.mark.usefixtures("cache")
def test_a_file_with_a_known_hash_is_not_read(
    finder: Callable[[str], Path], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finder(answering(ANSWER))
    monkeypatch.setattr(inspector, "_SETTLED_NS", -(10**12))
    with file.open("rb") as opened, Inspector() as made:
        content = Content.of(opened.fileno())
        made.inspect(opened.fileno())
        digest = made.digest(content)
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest()
    with Inspector() as later:
        assert later.answered(content, digest) == ANSWER
        assert later.digest(content) == digest


@needs_root
@pytest.mark.usefixtures("cache")
def test_an_unknown_hash_is_no_answer() -> None:
    with Inspector() as made:
        assert made.answered(Content(1, 2, 3, 4), "") is None
        assert made.answered(Content(1, 2, 3, 4), "ab" * 32) is None
        assert made.digest(Content(1, 2, 3, 4)) == ""


@needs_root
@pytest.mark.usefixtures("cache")
def test_the_hash_of_a_file_that_has_just_changed_is_not_certain(
    finder: Callable[[str], Path], file: Path
) -> None:
    """It may change again without getting another change time."""
    finder(answering(ANSWER))
    with file.open("rb") as opened, Inspector() as made:
        made.inspect(opened.fileno())
        assert made.digest(Content.of(opened.fileno())) == ""


@needs_root
@pytest.mark.usefixtures("cache")
def test_the_hash_of_a_file_that_changes_meanwhile_is_not_certain(
    finder: Callable[[str], Path], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finder(answering(ANSWER))
    monkeypatch.setattr(inspector, "_SETTLED_NS", -(10**12))
    blocks = inspector._blocks

    def changing(fd: int, size: int) -> Iterator[bytes]:
        yield from blocks(fd, size)
        file.chmod(0o700)

    monkeypatch.setattr(inspector, "_blocks", changing)
    with file.open("rb") as opened, Inspector() as made:
        before = Content.of(opened.fileno())
        made.inspect(opened.fileno())
        assert made.digest(before) == ""
        assert made.digest(Content.of(opened.fileno())) == ""


@needs_root
def test_answers_are_kept_for_the_latest_files_only(
    finder: Callable[[str], Path], file: Path, cache: Path
) -> None:
    cache.mkdir(0o700, parents=True)
    for n in range(1024):
        old = cache / str(n)
        old.touch()
        os.utime(old, (n, n))
    runs = finder(answering(ANSWER))
    assert [inspect(file), inspect(file)] == [ANSWER] * 2
    assert runs.read_text() == "run\n"
    assert len([*cache.iterdir()]) == 1024
    assert not (cache / "0").exists()


@pytest.fixture
def copied_to(finder: Callable[[str], Path], tmp_path: Path) -> Callable[[], str]:
    """Return a function that returns the kernel's name of the finder's copy."""
    where = tmp_path / "where"
    look = f"open({str(where)!r}, 'w').write(os.readlink('/proc/self/fd/0'))\n"
    finder(look + answering(ANSWER))
    return where.read_text


@needs_root
@pytest.mark.parametrize(
    ("size", "start"),
    [
        (inspector.IN_MEMORY_MAX, "/memfd:"),
        (inspector.IN_MEMORY_MAX + 1, "{cache}/#"),
    ],
)
def test_the_copy_of_a_large_file_is_not_in_memory(
    copied_to: Callable[[], str], file: Path, cache: Path, size: int, start: str
) -> None:
    os.truncate(file, size)
    assert inspect(file) == ANSWER
    assert copied_to().startswith(start.format(cache=cache))
    assert len([*cache.iterdir()]) == 1  # the answer


def test_without_a_disk_the_copy_of_a_large_file_is_in_memory(
    copied_to: Callable[[], str], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rootcache, "TOP", file)  # is no folder
    os.truncate(file, inspector.IN_MEMORY_MAX + 1)
    assert inspect(file) == ANSWER
    assert copied_to().startswith("/memfd:")


@needs_root
@pytest.mark.usefixtures("cache")
def test_a_disk_that_is_full_is_no_reason_to_refuse(
    copied_to: Callable[[], str], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for = []

    def full(size: int) -> int:
        asked_for.append(size)
        return os.open("/dev/full", os.O_RDWR)

    monkeypatch.setattr(inspector.CACHE, "nameless_file", full)
    os.truncate(file, inspector.IN_MEMORY_MAX + 1)
    assert inspect(file) == ANSWER
    assert asked_for == [inspector.IN_MEMORY_MAX + 1]
    assert copied_to().startswith("/memfd:")


@needs_root
def test_the_last_space_of_a_disk_is_left_to_others(cache: Path) -> None:
    room = os.statvfs(cache.parents[1])
    with pytest.raises(OSError, match="No space left"):
        inspector.CACHE.nameless_file(room.f_bavail * room.f_frsize)


@pytest.mark.usefixtures("cache")
def test_another_content_is_looked_at(
    finder: Callable[[str], Path], file: Path
) -> None:
    runs = finder(answering(ANSWER))
    inspect(file)
    file.write_bytes(b"\x7fELF and else")
    inspect(file)
    assert runs.read_text() == "run\n" * 2


@needs_root
def test_only_root_can_have_written_what_is_kept(
    finder: Callable[[str], Path], file: Path, cache: Path
) -> None:
    runs = finder(answering(ANSWER))
    inspect(file)
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    cache.chmod(0o770)
    inspect(file)
    assert runs.read_text() == "run\n" * 2


@needs_root
def test_a_kept_answer_that_is_damaged_is_made_again(
    finder: Callable[[str], Path], file: Path, cache: Path
) -> None:
    finder(answering(ANSWER))
    inspect(file)
    [kept] = cache.iterdir()
    kept.write_text("{")
    assert inspect(file) == ANSWER


@pytest.mark.usefixtures("cache")
def test_the_finder_sees_the_file_and_cannot_change_it(
    finder: Callable[[str], Path], file: Path
) -> None:
    refused = Inspection("", "", "", (), "", "No.")
    finder(f"os.write(0, b'changed'); {answering(refused)}")
    assert inspect(file) == refused
    assert file.read_bytes() == b"\x7fELF and more"


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("body", ["os._exit(1)", "os.abort()", "os._exit(2)"])
def test_a_finder_that_dies_is_a_refusal_that_is_not_kept(
    finder: Callable[[str], Path], file: Path, body: str
) -> None:
    runs = finder(body)
    assert inspect(file).refusal == "The finder gave up on it."
    inspect(file)
    assert runs.read_text() == "run\n" * 2


@pytest.mark.usefixtures("cache")
def test_a_finder_that_takes_too_long_is_stopped(
    finder: Callable[[str], Path], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspector, "TIME_LIMIT_S", 1)
    finder("import signal; signal.pause()")
    assert inspect(file).refusal == "The finder was stopped: it took too long."


@pytest.mark.usefixtures("cache")
def test_missing_packages_are_an_error(
    finder: Callable[[str], Path], file: Path
) -> None:
    finder("pass").with_name("finder.py").write_text("import sys; sys.exit(3)")
    with pytest.raises(TccapError, match=r"install\.sh"):
        inspect(file)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("answer", ["", "{}", "null", "[" * 100_000, "\xff"])
def test_a_malformed_answer_is_a_refusal_that_is_not_kept(
    finder: Callable[[str], Path], file: Path, answer: str
) -> None:
    runs = finder(f"print({answer!r})")
    assert inspect(file).refusal == "The finder's answer is malformed."
    inspect(file)
    assert runs.read_text() == "run\n" * 2


@pytest.mark.usefixtures("cache")
def test_an_endless_answer_is_not_read_to_its_end(
    finder: Callable[[str], Path], file: Path, tmp_path: Path
) -> None:
    written = tmp_path / "written"
    finder(
        f"written = open({str(written)!r}, 'wb', 0)\n"
        "while True:\n"
        "    os.write(1, bytes(1 << 16))\n"
        "    written.write(b'.')"
    )
    assert inspect(file).refusal == "The finder was stopped: its answer is too long."
    assert written.stat().st_size < 100


@pytest.mark.usefixtures("cache")
def test_a_finder_that_hangs_after_its_answer_is_stopped(
    finder: Callable[[str], Path], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspector, "TIME_LIMIT_S", 1)
    finder(
        f"{answering(ANSWER)}\nsys.stdout.flush(); os.close(1)\n"
        "import signal; signal.pause()"
    )
    assert inspect(file).refusal == "The finder was stopped: it took too long."


@pytest.mark.usefixtures("cache")
def test_a_finder_that_cannot_be_started_is_a_refusal(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finderprocess, "engine_python", lambda: "/nowhere/python3")
    refusal = "The finder cannot be started: No such file or directory."
    assert inspect(file).refusal == refusal


def test_a_device_is_refused() -> None:
    assert "ordinary" in inspect(Path("/dev/null")).refusal


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    assert "empty" in inspect(empty).refusal


def test_sites_are_described() -> None:
    text = "\n".join(inspection.describe(ANSWER))
    assert "OpenSSL (OpenSSL 3.0.17)" in text
    assert "probe at   0x1000" in text
    assert "client random  *(rdi + 168) + 184" in text
    assert "secret's bytes 32 bits of rcx" in text


def test_halves_are_described() -> None:
    kinds = {
        kind: "\n".join(inspection.describe(replace(ANSWER, sites=(site,))))
        for kind in ("key", "value")
        for site in (replace(SITE, kind=kind),)
    }
    assert "key            rdx" in kinds["key"]
    assert "handle         *(rdi + 168) + 184" in kinds["value"]
    lines = inspection.describe(replace(ANSWER, sites=(), handle_at=8))
    assert lines[-1] == "handles at 8 of its keys"


def test_a_refusal_is_described() -> None:
    lines = inspection.describe(Inspection("", "", "", (), "", "It is odd."))
    assert lines == ["build id   none", "no secrets It is odd."]


def confined(tmp_path: Path, body: str) -> "subprocess.CompletedProcess[str]":
    """Run some Python that has given up its rights as the finder does."""
    program = tmp_path / "confined.py"
    program.write_text(
        "import ctypes, os, socket\n"
        "from tccap.tls.finder.confine import confine\n"
        "status = open('/proc/self/status')\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        f"confine(0)\n{body}\n"
    )
    return subprocess.run(
        [sys.executable, program],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(Path(inspector.__file__).parents[2])},
    )


@needs_root
def test_the_finder_has_no_rights(tmp_path: Path) -> None:
    shown = dict(
        line.split(":\t", 1)
        for line in confined(tmp_path, "print(status.read())").stdout.splitlines()
        if ":\t" in line
    )
    for kind in ("CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd"):
        assert int(shown[kind], 16) == 0, kind
    assert (shown["NoNewPrivs"], shown["Seccomp"]) == ("1", "2")
    assert shown["Groups"].strip() == ""


@needs_root
def test_each_finder_is_another_user_that_does_not_exist(tmp_path: Path) -> None:
    ids = {confined(tmp_path, "print(os.getuid())").stdout for _ in range(3)}
    assert len(ids) == 3
    assert all(int(uid) > 2_000_000_000 for uid in ids)


@needs_root
@pytest.mark.parametrize("attempt", ["open('/etc/passwd')", "os.fork()", "os.pipe()"])
def test_the_finder_is_refused(tmp_path: Path, attempt: str) -> None:
    done = confined(tmp_path, attempt)
    assert "PermissionError" in done.stderr.splitlines()[-1]


@needs_root
@pytest.mark.parametrize(
    "attack",
    [
        "socket.socket()",
        "libc.ptrace(16, os.getppid(), 0, 0)",
        "libc.unshare(0x10000000)",
        "libc.setns(0, 0)",
        "libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0)",  # clone, CLONE_NEWUSER
        "libc.process_vm_readv(os.getppid(), 0, 0, 0, 0, 0)",
        "os.execv('/bin/true', ['true'])",
        "open('/tmp/made-by-the-finder', 'w')",
        "libc.syscall(321, 0, 0, 0)",  # bpf
        "libc.syscall(425, 1, 0)",  # io_uring_setup
        "libc.syscall(0x40000000 | 39)",  # getpid of x32
    ],
)
def test_an_attack_ends_the_finder(tmp_path: Path, attack: str) -> None:
    done = confined(tmp_path, attack)
    assert done.returncode == -signal.SIGSYS, done.stderr
