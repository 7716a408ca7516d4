"""The fork server: one process for many runs, each of which can be ended."""

import contextlib
import os
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from support.running import DEADLINE_S, until
from tccap.tls import finderprocess
from tccap.tls.finderprocess import FinderProcess, Run

SRC = str(Path(finderprocess.__file__).parents[2])
_SERVING = """
import os, signal, socket, sys
sys.path.insert(0, {!r})
from tccap.tls.finder import forkserver
def inspect():
{}
    sys.stdout.flush()
    return 0
forkserver.ForkServer(socket.socket(fileno=0), inspect).run()
"""
WAITS = "print(os.getpid(), flush=True); signal.pause()"

Start = Callable[[str], FinderProcess]


class Running(NamedTuple):
    """A run that has not ended, and its processes."""

    finder: FinderProcess
    server: int
    child: int


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Return a function that makes a finder process with this as its inspection."""
    script = tmp_path / "finder.py"
    monkeypatch.setattr(finderprocess, "SCRIPT", str(script))
    monkeypatch.setattr(finderprocess, "engine_python", lambda: sys.executable)
    made = FinderProcess()

    def start(body: str) -> FinderProcess:
        script.write_text(_SERVING.format(SRC, textwrap.indent(body, "    ")))
        return made

    yield start
    made.close()


def _run(finder: FinderProcess, timeout_s: float = DEADLINE_S) -> Run:
    with tempfile.TemporaryFile() as file:
        file.write(b"content")
        file.seek(0)
        return finder.run(file.fileno(), timeout_s, 1000)


def test_each_run_is_a_child_of_one_process(start: Start) -> None:
    finder = start("print(os.getppid(), os.getpid(), os.pread(0, 7, 0))")
    runs = [_run(finder).answer.split(maxsplit=2) for _ in range(3)]
    assert len({parent for parent, _, _ in runs}) == 1
    assert len({child for _, child, _ in runs}) == 3
    assert {content for _, _, content in runs} == {b"b'content'\n"}


def test_a_run_has_nothing_open_but_its_file_and_its_answer(start: Start) -> None:
    run = _run(start("print(sorted(os.listdir('/proc/self/fd'))[:-1])"))
    assert run.answer == b"['0', '1', '2']\n"


def test_a_run_reports_how_it_ended_and_what_it_used(start: Start) -> None:
    run = _run(start("while os.times().user < 0.2: pass\nos._exit(2)"))
    assert run.status == 2
    assert run.cpu_s > 0.1
    assert run.memory_kib > 1000


def test_a_run_that_takes_too_long_is_killed(start: Start) -> None:
    run = _run(start(WAITS), timeout_s=1.0)
    assert run.status < 0
    _check_ends(int(run.answer))


def test_a_run_whose_answer_is_too_long_is_killed(start: Start) -> None:
    run = _run(start("print(os.getpid())\nwhile True: print('x' * 1000, flush=True)"))
    assert len(run.answer) > 1000
    _check_ends(int(run.answer.split()[0]))


def test_two_run_at_once(start: Start, tmp_path: Path) -> None:
    """Each waits for the other one."""
    finder = start(
        f"open(os.path.join({str(tmp_path)!r}, f'run{{os.getpid()}}'), 'w').close()\n"
        f"while sum(n.startswith('run') for n in os.listdir({str(tmp_path)!r})) < 2:\n"
        "    pass\n"
        "print('met')"
    )
    runs: list[Run] = []
    threads = [
        threading.Thread(target=lambda: runs.append(_run(finder))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [run.answer for run in runs] == [b"met\n"] * 2


def test_a_server_that_has_ended_is_started_again(start: Start) -> None:
    finder = start("print(os.getppid())")
    first = int(_run(finder).answer)
    os.kill(first, 9)
    _check_ends(first)
    assert int(_run(finder).answer) != first


@pytest.fixture
def running(start: Start, tmp_path: Path) -> Iterator[Running]:
    """Yield a run that is confined and waits."""
    pids = tmp_path / "pids"
    finder = start(
        "from tccap.tls.finder import confine\n"
        f"pids = open({str(pids)!r}, 'w')\n"
        "print(os.getppid(), os.getpid(), file=pids, flush=True)\n"
        "confine.confine(0)\n"
        "import time\n"
        "while True: time.sleep(1)"
    )
    ended: list[Run] = []
    thread = threading.Thread(target=lambda: ended.append(_run(finder)))
    thread.start()
    until(lambda: pids.exists() and "\n" in pids.read_text(), "a run")
    server, child = pids.read_text().split()
    status = Path(f"/proc/{child}/status")
    until(lambda: "Seccomp:\t2" in status.read_text(), "a confined run")
    yield Running(finder, int(server), int(child))
    thread.join(DEADLINE_S)
    assert ended[0].status == -9


def test_a_server_that_ends_during_a_run_ends_that(running: Running) -> None:
    os.kill(running.server, 9)
    _check_ends(running.child)


def test_the_end_of_the_process_ends_what_runs(running: Running) -> None:
    running.finder.close()
    _check_ends(running.server)
    _check_ends(running.child)
    with pytest.raises(OSError, match="ended"):
        _run(running.finder)


def _check_ends(pid: int) -> None:
    def has_ended() -> bool:
        with contextlib.suppress(OSError):
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            return state == "Z"
        return True

    until(has_ended, f"the end of {pid}")
