"""Which files of the traced processes are to be examined, and when again."""

import pytest

from tccap.host import proc
from tccap.tls import mapped, processscan
from tccap.tls.knownfiles import Content, KnownFiles, Outcome
from tccap.tls.mapped import Identity, Mapped
from tccap.tls.processscan import ProcessScan
from tccap.tls.spending import Spending
from tccap.tls.verdicts import Answer, Verdicts

Processes = dict[int, list[str]]


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Processes:
    """Return the files of each process, to be changed; 1 is the only one not traced."""
    made: Processes = {1: ["/init"], 2: ["/a", "/b"], 3: ["/b"]}

    def files(pid: int) -> list[Mapped]:
        return [Mapped(_identity(path), pid, "0-1") for path in made[pid]]

    monkeypatch.setattr(proc, "pids", lambda: [*made])
    monkeypatch.setattr(proc, "euid", lambda pid: 1000 + pid % 2)
    monkeypatch.setattr(mapped, "files", files)
    monkeypatch.setattr(mapped, "program", lambda pid: (8, pid))
    monkeypatch.setattr(mapped, "has_ended", lambda pid: pid not in made)
    return made


@pytest.fixture
def known() -> KnownFiles:
    return KnownFiles()


@pytest.fixture
def verdicts() -> Verdicts:
    return Verdicts()


@pytest.fixture
def scan(known: KnownFiles, verdicts: Verdicts) -> ProcessScan:
    return ProcessScan(lambda pid: pid != 1, known, verdicts, Spending())


def _identity(path: str) -> Identity:
    return Identity("08:01", "7", path)


def _examined(scan: ProcessScan, known: KnownFiles) -> list[tuple[int, str]]:
    """Examine what is due; return it."""
    found = []
    for look, dues in scan.scan(lambda: None):
        for file, user in dues:
            path = file.identity.path
            assert user == look.user
            with scan.charged(look):
                found.append((file.pid, path))
            known.set_content(file.identity, _content(path))
            known.set_outcome(_content(path), None)
        scan.record(look)
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


@pytest.mark.usefixtures("processes")
def test_a_user_whose_files_take_too_long_keeps_nobody_waiting(
    scan: ProcessScan, known: KnownFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left out is due in the next scan."""
    monkeypatch.setattr(processscan, "USER_S", 0.0)
    assert _examined(scan, known) == []
    monkeypatch.setattr(processscan, "USER_S", 1e-9)
    assert _examined(scan, known) == [(2, "/a"), (3, "/b")]
    monkeypatch.setattr(processscan, "USER_S", 30.0)
    assert _examined(scan, known) == [(2, "/a"), (2, "/b")]
    assert _examined(scan, known) == []


def test_the_loop_gets_an_answer_about_each_process(
    scan: ProcessScan, known: KnownFiles, verdicts: Verdicts, processes: Processes
) -> None:
    known.set_content(_identity("/a"), _content("/a"))
    known.set_outcome(_content("/a"), Outcome("/a", "OpenSSL", 1, ""))
    assert [verdicts.may_give(pid) for pid in (2, 3)] == [None, None]
    for pid in sorted(verdicts.take_asked()):
        look = scan.look(pid)
        for file, _ in scan.due_of(look):
            known.set_content(file.identity, _content(file.identity.path))
            if not known.is_examined(_content(file.identity.path)):
                known.set_outcome(_content(file.identity.path), None)
        scan.answer(look)
    assert verdicts.take_answers() == [
        Answer(2, True, (8, 2)),
        Answer(3, False, (8, 3)),
    ]
    assert verdicts.may_give(2)
    assert verdicts.may_give(3) is False
    del processes[2]
    assert _examined(scan, known) == []
    assert verdicts.may_give(2) is None


def test_what_a_library_says_stays_with_its_processes(
    scan: ProcessScan, known: KnownFiles, verdicts: Verdicts, processes: Processes
) -> None:
    """Somebody's library with other offsets changes nothing for the others."""
    processes[4] = ["/c"]
    _examined(scan, known)
    known.add_handle_at(_content("/b"), 8)
    known.add_handle_at(_content("/c"), 16)
    _examined(scan, known)
    assert verdicts.take_handles() == {2: {8}, 3: {8}, 4: {16}}


@pytest.mark.usefixtures("processes")
def test_the_loop_can_ask_before_each_look(scan: ProcessScan) -> None:
    """Reading about many processes takes longer than some of them live."""
    asked: list[int] = []
    seen = [len(asked) for _ in scan.scan(lambda: asked.append(1))]
    assert seen == [1, 2, 3]
