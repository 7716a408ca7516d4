"""The probes of files that change, are replaced or cannot be probed.

The probes are real. Only the finder, which would find nothing in so small a program, is
replaced.
"""

import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from support import probing
from support.probing import NEW, OLD
from support.running import DEADLINE_S, until
from tccap.errors import TccapError
from tccap.host import proc, rootcache
from tccap.host.inotify import Event as Change
from tccap.host.inotify import Mask
from tccap.ipc import status
from tccap.ipc.channel import GotNoSecrets
from tccap.ipc.status import Event, Log
from tccap.ipc.values import Level
from tccap.tls import (
    examiner,
    explainer,
    filesearch,
    inspector,
    learned,
    libraries,
    probedfiles,
    probetable,
    tracing,
    unsupported,
)
from tccap.tls.examinations import AT_ONCE
from tccap.tls.inspector import Inspector
from tccap.tls.knownfiles import Content
from tccap.tls.libraries import MARKERS
from tccap.tls.probedfiles import ProbedFiles, WatchedFile
from tccap.tls.sites import Inspection
from tccap.tls.tracing import Tracing

pytestmark = pytest.mark.full_matrix

RUNS = 20
REFUSED = Inspection("", "", "", (), "", "It is odd.")
REALLY_COMMON, REALLY_INSPECT = libraries.common, Inspector.inspect


class Watched:
    """A tracing thread, and the events that it reports."""

    def __init__(self, *listed: Path) -> None:
        self.reports: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.pids = {0}
        self.tracing = Tracing(
            lambda: (probing.uprobes(), None),
            lambda pid: pid in self.pids,
            tuple(map(str, listed)),
            shows_paths=True,
        )

    def report(self, event: Event) -> None:
        self.reports.put({"event": status.name(event), **asdict(event)})

    def log(self, level: Level, message: str) -> None:
        self.report(Log(level, message))

    def wait_for(self, **details: Any) -> dict[str, Any]:
        """Return the next event that has these details."""
        while True:
            event = self.reports.get(timeout=DEADLINE_S)
            if event.items() >= details.items():
                return event

    def wait_for_all(self, *each: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the next events that have these details, whichever comes first.

        Files are examined two at a time.
        """
        found: dict[int, dict[str, Any]] = {}
        while len(found) < len(each):
            event = self.reports.get(timeout=DEADLINE_S)
            for number, details in enumerate(each):
                if number not in found and event.items() >= details.items():
                    found[number] = event
        return [found[number] for number in range(len(each))]

    def look_at(self, pid: int) -> None:
        """Let the thread trace this process alone, from now on."""
        self.pids = {pid}
        self.ask()

    def ask(self) -> None:
        """Ask for the processes, as if each had sent a ClientHello."""
        for pid in self.pids:
            self.tracing.may_trace(pid)

    @property
    def probes_in_use(self) -> int:
        assert self.tracing._probed
        return len(self.tracing._probed._probes._fds)

    @property
    def watches(self) -> int:
        assert self.tracing._probed
        return len(self.tracing._probed._files)

    def end(self) -> None:
        """Stop both threads; may be called again."""
        if not self.tracing._stopped.is_set():
            self.tracing.close()
        self.tracing.join(DEADLINE_S)
        assert not self.tracing.is_alive()
        assert self.tracing._probed
        assert not self.tracing._probed._watch.is_alive()


Start = Callable[..., Watched]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a thread."""
    started = []

    def start(*listed: Path) -> Watched:
        made = Watched(*listed)
        for module in (examiner, probedfiles, tracing):
            monkeypatch.setattr(module, "report", made.report)
        for module in (examiner, explainer, filesearch, probedfiles, tracing):
            monkeypatch.setattr(module, "log", made.log)
        made.tracing.start()
        started.append(made)
        return made

    monkeypatch.setattr(rootcache, "TOP", tmp_path / "cache")
    monkeypatch.setattr(libraries, "common", list)
    _replace_finder(monkeypatch, _inspect)
    yield start
    for each in started:
        each.end()


def _replace_finder(
    monkeypatch: pytest.MonkeyPatch, inspect: Callable[[int], Inspection]
) -> None:
    monkeypatch.setattr(Inspector, "prepare", lambda _self: None)
    monkeypatch.setattr(Inspector, "inspect", lambda _self, fd: inspect(fd))


def _inspect(fd: int) -> Inspection:
    """Find the function of either version."""
    content = os.pread(fd, os.fstat(fd).st_size, 0)
    [at] = {content.find(OLD), content.find(NEW)} - {-1}
    return Inspection("", "OpenSSL", "", (probing.site(at),), "", "")


@pytest.fixture
def old(tmp_path: Path) -> probing.Program:
    return probing.program(tmp_path, OLD)


@pytest.fixture
def new(tmp_path: Path) -> probing.Program:
    return probing.program(tmp_path, NEW)


@pytest.fixture
def path(tmp_path: Path, old: probing.Program) -> Path:
    made = tmp_path / "program"
    probing.install(made, old.content)
    return made


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Return a sparse file of 1 TiB."""
    made = tmp_path / "large"
    with made.open("wb") as file:
        file.truncate(1 << 40)
    return made


def test_a_new_version_with_the_probes_of_the_old_one_would_crash(
    path: Path, old: probing.Program, new: probing.Program
) -> None:
    """So the tests below prove something."""
    assert new.offset == old.offset
    probes = probing.uprobes()
    fd = os.open(path, os.O_RDONLY)
    try:
        probes.attach(fd, probing.site(old.offset))
        assert probing.run(path) == 0  # the kernel notes the instruction
        probing.install(path, new.content)
        assert probing.run(path) < 0
    finally:
        os.close(fd)
        probes.close()
    assert probing.run(path) == 0


def test_a_program_that_is_overwritten_runs_and_is_probed_again(
    start: Start, path: Path, new: probing.Program
) -> None:
    watched = start(path)
    watched.wait_for(path=str(path), probes=1)
    watched.wait_for(event="tls_ready")
    assert probing.run(path) == 0
    probing.install(path, new.content)
    watched.wait_for(path=str(path), detached=1)
    assert {probing.run(path) for _ in range(RUNS)} == {0}
    with probing.running(path) as pid:
        watched.look_at(pid)
        watched.wait_for(path=str(path), probes=1)
        assert probing.is_probed(pid, path, new.offset)
        until(lambda: watched.tracing.may_trace(pid), "secrets of the new version")


def test_a_detached_probe_is_reported_once(
    start: Start, path: Path, new: probing.Program
) -> None:
    watched = start(path)
    watched.wait_for(event="tls_ready")
    probing.install(path, new.content)
    message = watched.wait_for(level="info")["message"]
    assert message == f"TLS: {path} has changed: its probes are detached."
    watched.wait_for(path=str(path), detached=1)
    watched.end()
    reports_then = [
        watched.reports.get_nowait() for _ in range(watched.reports.qsize())
    ]
    assert [each["event"] for each in reports_then] == ["timing"]


def test_each_probe_of_a_file_that_changes_can_be_used_again(
    start: Start,
    path: Path,
    old: probing.Program,
    new: probing.Program,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probetable, "SLOTS", 2)
    watched = start(path)
    watched.wait_for(path=str(path), probes=1)
    for n in range(2 * probetable.SLOTS):
        probing.install(path, (new, old)[n % 2].content)
        watched.wait_for(path=str(path), detached=1)
        with probing.running(path) as pid:
            watched.look_at(pid)
            watched.wait_for(path=str(path), probes=1)


def test_probes_of_replaced_builds_that_nobody_runs_are_detached(
    start: Start, path: Path, new: probing.Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probetable, "SLOTS", 2)
    watched = start(path)
    for _ in range(5):
        watched.wait_for(path=str(path), probes=1)
        _replace(path, new)
        with probing.running(path) as pid:
            watched.look_at(pid)
            until(lambda: probing.is_probed(pid, path, new.offset), "a probe")


def test_a_replaced_build_keeps_its_probes_while_it_runs(
    start: Start, path: Path, new: probing.Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probetable, "SLOTS", 1)
    watched = start()
    with ExitStack() as first, ExitStack() as second:
        pid = first.enter_context(probing.running(path))
        watched.look_at(pid)
        watched.wait_for(path=str(path), probes=1)
        _replace(path, new)
        watched.pids = {pid, second.enter_context(probing.running(path))}
        watched.ask()
        watched.wait_for(path=str(path), probes=0)
        message = watched.wait_for(level="warning")["message"]
        assert message == f"TLS: no secrets from {path}: All 1 probes are in use."
        assert watched.probes_in_use == 1
        first.close()
        watched.wait_for(path=str(path), detached=1)
        watched.wait_for(path=str(path), probes=1)
        [pid] = watched.pids - {pid}
        assert probing.is_probed(pid, path, new.offset)


def _replace(path: Path, program: probing.Program) -> None:
    """Put another file in a file's place, as package managers and linkers do."""
    made = path.with_name("made")
    probing.install(made, program.content)
    made.rename(path)


def test_a_file_with_another_name_is_probed_once(start: Start, path: Path) -> None:
    """A new name also changes its change time."""
    watched = start(path)
    watched.wait_for(event="tls_ready")
    other = path.with_name("other")
    other.hardlink_to(path)
    with probing.running(other) as pid:
        watched.look_at(pid)
        until(lambda: _names(watched) == {"other"}, "a look at the other name")
        until(lambda: watched.tracing.may_trace(pid), "secrets by the other name")
    assert watched.probes_in_use == 1


def test_a_file_that_changes_while_it_is_inspected_is_inspected_again(
    start: Start, path: Path, new: probing.Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspections = []

    def inspect(fd: int) -> Inspection:
        inspections.append(fd)
        found = _inspect(fd)
        if len(inspections) == 1:
            probing.install(path, new.content)
            until(lambda: not watched.watches, "news of the change")
        return found

    _replace_finder(monkeypatch, inspect)
    watched = start(path)
    watched.wait_for(event="tls_ready")
    assert watched.probes_in_use == 0
    with probing.running(path) as pid:
        watched.look_at(pid)
        watched.wait_for(path=str(path), probes=1)
    assert len(inspections) == 2


def test_probes_go_while_another_file_is_inspected(
    start: Start, path: Path, new: probing.Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_inspected, is_changed = threading.Event(), threading.Event()
    others = path.with_name("other")
    probing.install(others, new.content)

    def inspect(fd: int) -> Inspection:
        if os.fstat(fd).st_ino == others.stat().st_ino:
            is_inspected.set()
            assert is_changed.wait(2 * DEADLINE_S)
        return _inspect(fd)

    _replace_finder(monkeypatch, inspect)
    watched = start(path, others)
    watched.wait_for(path=str(path), probes=1)
    assert is_inspected.wait(DEADLINE_S)
    probing.install(path, new.content)
    watched.wait_for(path=str(path), detached=1)
    is_changed.set()
    watched.wait_for(path=str(others), probes=1)


def test_a_program_that_ends_while_others_are_inspected_is_probed(
    start: Start, path: Path, new: probing.Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is opened when it is seen, and its next run is read."""
    others = [path.with_name(f"other{number}") for number in range(AT_ONCE)]
    for number, other in enumerate(others):
        probing.install(other, new.content + bytes(number))
    busy, goes_on = threading.Semaphore(0), threading.Event()

    def inspect(fd: int) -> Inspection:
        if os.fstat(fd).st_ino != path.stat().st_ino:
            busy.release()
            assert goes_on.wait(2 * DEADLINE_S)
        return _inspect(fd)

    _replace_finder(monkeypatch, inspect)
    watched = start(*others)
    assert all(busy.acquire(timeout=DEADLINE_S) for _ in others)
    with probing.running(path) as pid:
        watched.look_at(pid)
        until(lambda: _names(watched) == {"program"}, "a look at it")
    until(lambda: not Path(f"/proc/{pid}").exists(), "its end")
    goes_on.set()
    watched.wait_for(path=str(path), probes=1)


def test_the_files_of_one_user_leave_probes_for_others(
    start: Start, path: Path, new: probing.Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probetable, "SLOTS", 2)
    other = path.with_name("other")
    probing.install(other, new.content)
    user = [65534]
    monkeypatch.setattr(proc, "euid", lambda _pid: user[0])
    watched = start()
    with probing.running(path) as first, probing.running(other) as second:
        watched.look_at(first)
        watched.wait_for(path=str(path), probes=1)
        watched.look_at(second)
        refusal = f"TLS: no secrets from {other}: All 1 probes of its user are in use."
        watched.wait_for(message=refusal)
    third = path.with_name("third")
    probing.install(third, new.content + b"x")
    user[0] = 65533
    with probing.running(third) as pid:
        watched.look_at(pid)
        watched.wait_for(path=str(third), probes=1)


def test_a_new_build_that_gets_the_number_of_the_old_one_is_looked_at(
    start: Start, path: Path, old: probing.Program
) -> None:
    """As a file without TLS, which is not watched, becomes one with it."""
    probing.install(path, old.content.replace(MARKERS[0], b"x" * len(MARKERS[0])))
    watched = start()
    with probing.running(path) as pid:
        watched.look_at(pid)
        until(lambda: _names(watched) == {"program"}, "a look at the first build")
    probing.install(path, old.content)
    with probing.running(path) as pid:
        watched.look_at(pid)
        watched.wait_for(path=str(path), probes=1)


def test_a_file_that_says_it_is_empty_is_refused_and_the_rest_is_looked_at(
    start: Start, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inspect(fd: int) -> Inspection:
        is_empty = os.fstat(fd).st_size == 0
        return REALLY_INSPECT(Inspector(), fd) if is_empty else _inspect(fd)

    _replace_finder(monkeypatch, inspect)
    watched = start(Path("/proc/self/mem"), path)
    reason = unsupported.why_refused("It is empty or larger than 1 GiB.", None)
    refusal = f"TLS: no secrets from /proc/self/mem: {reason}"
    watched.wait_for_all(
        {"level": "warning", "message": refusal}, {"path": str(path), "probes": 1}
    )


def test_a_file_keeps_all_its_probes_or_none(
    start: Start, path: Path, new: probing.Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel refuses the second probe, which is beyond the file's end."""
    other = path.with_name("other")
    probing.install(other, new.content)

    def inspect(fd: int) -> Inspection:
        found = _inspect(fd)
        if os.fstat(fd).st_ino == other.stat().st_ino:
            return found
        return replace(found, sites=(*found.sites, probing.site(1 << 40)))

    _replace_finder(monkeypatch, inspect)
    watched = start(path, other)
    refusal = f"TLS: no secrets from {path}: The kernel attaches no probe there."
    watched.wait_for_all(
        {"level": "warning", "message": refusal},
        {"path": str(path), "probes": 0},
        {"path": str(other), "probes": 1},
    )
    assert watched.probes_in_use == 1


def test_a_file_that_the_finder_fails_on_is_refused_and_the_rest_is_looked_at(
    start: Start, path: Path, new: probing.Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = path.with_name("other")
    probing.install(other, new.content)

    def inspect(fd: int) -> Inspection:
        if os.fstat(fd).st_ino == path.stat().st_ino:
            raise TccapError("It failed.")
        return _inspect(fd)

    _replace_finder(monkeypatch, inspect)
    watched = start(path, other)
    refusal = f"TLS: no secrets from {path}: It failed."
    watched.wait_for_all(
        {"level": "warning", "message": refusal}, {"path": str(other), "probes": 1}
    )


def test_a_file_that_is_too_large_is_not_read(
    start: Start, path: Path, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inspect(fd: int) -> Inspection:
        is_large = os.fstat(fd).st_size == 1 << 40
        return REALLY_INSPECT(Inspector(), fd) if is_large else _inspect(fd)

    _replace_finder(monkeypatch, inspect)
    watched = start(large, path)
    refused, _ = watched.wait_for_all(
        {"level": "warning"}, {"path": str(path), "probes": 1}
    )
    assert refused["message"].startswith(f"TLS: no secrets from {large}: ")
    assert "larger than 1 GiB: if the program" in refused["message"]


@pytest.mark.parametrize("ldconfig", ["absent-ldconfig", "text-ldconfig"])
def test_without_ldconfig_the_rest_is_looked_at(
    start: Start, path: Path, monkeypatch: pytest.MonkeyPatch, ldconfig: str
) -> None:
    path.with_name("text-ldconfig").touch(0o644)
    monkeypatch.setattr(libraries, "common", REALLY_COMMON)
    monkeypatch.setattr(libraries, "LDCONFIG", str(path.with_name(ldconfig)))
    watched = start(path)
    assert "ldconfig" in watched.wait_for(level="warning")["message"]
    watched.wait_for(path=str(path), probes=1)


def test_a_thread_that_looks_through_a_large_file_can_be_stopped(
    start: Start, path: Path, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspector, "FILE_LEN_MAX", 1 << 41)
    watched = start(path, large)
    watched.wait_for(path=str(path), probes=1)
    watched.end()


def test_only_files_with_probes_are_watched(
    start: Start, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root has only so many watches; a user can map any number of files."""
    others = [path.with_name(f"other{number}") for number in range(50)]
    for other in others:
        other.write_bytes(MARKERS[0])

    def inspect(fd: int) -> Inspection:
        is_small = os.fstat(fd).st_size == len(MARKERS[0])
        return REFUSED if is_small else _inspect(fd)

    _replace_finder(monkeypatch, inspect)
    watched = start(*others, path)
    watched.wait_for(path=str(path), probes=1)
    watched.wait_for(event="tls_ready")
    assert watched.watches == 1
    assert watched.tracing._probed
    assert len(watched.tracing._probed._watch._watches) == 1


def test_listed_files_are_probed_again_when_events_were_lost(
    start: Start, path: Path
) -> None:
    """Also those that nobody uses at the moment."""
    watched = start(path)
    watched.wait_for(event="tls_ready")
    assert watched.tracing._probed
    watch = watched.tracing._probed._watch
    watch._report(Change(-1, Mask.Q_OVERFLOW, b""))
    watched.wait_for(path=str(path), detached=1)
    watched.wait_for(path=str(path), probes=1)


def test_a_file_that_grows_while_it_is_read_is_read_up_to_its_size(
    start: Start, path: Path
) -> None:
    growing = path.with_name("growing")
    growing.write_bytes(b"x")
    grown = threading.Event()
    really_read = os.pread

    def pread(fd: int, length: int, offset: int) -> bytes:
        if os.fstat(fd).st_ino == growing.stat().st_ino:
            os.truncate(growing, offset + (1 << 30))
            grown.set()
        return really_read(fd, length, offset)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "pread", pread)
        watched = start(growing, path)
        watched.wait_for(path=str(path), probes=1)
    assert grown.is_set()


def _learn(path: Path, digest: str) -> None:
    """Make it look as if an earlier capture had probed a program."""
    with path.open("rb") as file:
        answer = _inspect(file.fileno())
        learned.keep(str(path), Content.of(file.fileno()), digest)
    inspector.CACHE.keep(inspector._file(digest), answer.to_json().encode())


def test_a_learned_file_is_probed_without_being_read(
    start: Start, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of them took the start more than ten seconds."""
    read: list[object] = []
    monkeypatch.setattr(libraries, "has_marker", lambda *seen: read.append(seen))
    _learn(path, "ab" * 32)
    watched = start()
    watched.wait_for(path=str(path), probes=1)
    watched.wait_for(event="tls_ready")
    assert read == []


def test_a_learned_file_that_changes_before_it_is_watched_is_inspected(
    start: Start,
    path: Path,
    new: probing.Program,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inspected: list[int] = []

    def inspect(fd: int) -> Inspection:
        inspected.append(fd)
        return _inspect(fd)

    watch = ProbedFiles.watch

    def change_first(self: ProbedFiles, *arguments: Any) -> WatchedFile | None:
        if not inspected:
            probing.install(path, new.content)
        return watch(self, *arguments)

    monkeypatch.setattr(ProbedFiles, "watch", change_first)
    _replace_finder(monkeypatch, inspect)
    _learn(path, "ab" * 32)
    watched = start()
    watched.wait_for(path=str(path), probes=1)
    assert inspected


def test_learned_files_that_take_too_long_are_told(
    start: Start, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesearch, "LEARNED_S", 0.0)
    _learn(path, "ab" * 32)
    watched = start()
    message = "TLS: programs of earlier captures are looked at when they are in use"
    assert message in watched.wait_for(event="log", level="warning")["message"]
    watched.wait_for(event="tls_ready")


def test_a_connection_without_secrets_of_a_process_that_has_ended_is_told(
    start: Start, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are remembered from when it was looked at."""
    monkeypatch.setattr(explainer, "_HELLO_S", -3600.0)  # it was probed long before
    watched = start()
    with probing.running(path) as pid:
        watched.look_at(pid)
        watched.wait_for(path=str(path), probes=1)
    assert not list(watched.tracing.answer(GotNoSecrets(pid, 0)))
    watched.wait_for(event="log", message=_silent(path, pid))


def _silent(path: Path, pid: int) -> str:
    return (
        f"TLS: no secrets for a connection of {path} (pid {pid}), although OpenSSL in "
        "it is read; perhaps it forwards for others, or has a second TLS library, "
        "which is not known."
    )


def test_refused_files_are_warned_of_when_their_process_speaks_tls(
    start: Start, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Wireshark's own library, which knows the labels, has never a connection."""
    _replace_finder(monkeypatch, lambda _fd: REFUSED)
    watched = start()
    reason = unsupported.why_refused(REFUSED.refusal, None)
    refusal = f"TLS: no secrets from {path}: {reason}"
    with probing.running(path) as pid:
        watched.pids = {pid}
        assert watched.wait_for(message=refusal)["level"] == "info"
        watched.ask()
        assert watched.wait_for(message=refusal)["level"] == "warning"


def _names(watched: Watched) -> set[str]:
    """Return the names of the test's files that processes were seen with."""
    known = [*watched.tracing._known._contents]
    return {Path(each.path).name for each in known} & {"program", "other"}
