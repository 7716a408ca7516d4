"""Which files of the traced processes are to be examined, and when again."""

import pytest

from tccap.host import proc
from tccap.tls import mapped
from tccap.tls.knownfiles import Content, KnownFiles
from tccap.tls.mapped import Identity, Mapped
from tccap.tls.processscan import ProcessScan

Processes = dict[int, list[str]]


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Processes:
    """Return the files of each process, to be changed; 1 is the only one not traced."""
    made: Processes = {1: ["/init"], 2: ["/a", "/b"], 3: ["/b"]}

    def files(pid: int) -> list[Mapped]:
        return [Mapped(_identity(path), pid, "0-1") for path in made[pid]]

    monkeypatch.setattr(proc, "pids", lambda: [*made])
    monkeypatch.setattr(mapped, "files", files)
    return made


@pytest.fixture
def known() -> KnownFiles:
    return KnownFiles()


@pytest.fixture
def scan(known: KnownFiles) -> ProcessScan:
    return ProcessScan(lambda pid: pid != 1, known)


def _identity(path: str) -> Identity:
    return Identity("08:01", "7", path)


def _examined(scan: ProcessScan, known: KnownFiles) -> list[tuple[int, str]]:
    """Examine what is due; return it."""
    found = []
    for file in scan.due():
        path = file.identity.path
        found.append((file.pid, path))
        known.set_content(file.identity, _content(path))
        known.set_outcome(_content(path), None)
    return found


def _content(path: str) -> Content:
    return Content(1, ord(path[-1]), 1, 1)


@pytest.mark.usefixtures("processes")
def test_each_file_is_due_once(scan: ProcessScan, known: KnownFiles) -> None:
    assert _examined(scan, known) == [(2, "/a"), (2, "/b")]
    assert _examined(scan, known) == []


def test_all_files_of_a_process_that_maps_a_new_one_are_due(
    scan: ProcessScan, known: KnownFiles, processes: Processes
) -> None:
    """A file with a known identity may be another one by now."""
    _examined(scan, known)
    processes[3].append("/c")
    processes[4] = ["/c"]
    assert _examined(scan, known) == [(3, "/b"), (3, "/c")]


@pytest.mark.usefixtures("processes")
def test_a_forgotten_file_is_due_again(scan: ProcessScan, known: KnownFiles) -> None:
    _examined(scan, known)
    known.forget(_content("/b"))
    assert _examined(scan, known) == [(2, "/b")]


def test_contents_in_use_are_those_of_traced_processes(
    scan: ProcessScan, known: KnownFiles, processes: Processes
) -> None:
    _examined(scan, known)
    del processes[2]
    assert scan.contents_in_use() == {_content("/b")}
