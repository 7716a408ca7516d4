"""A capture into a file, with a stand-in for the engine."""

import contextlib
import logging
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.blocks import HEADS, PACKET, block
from tccap.errors import TccapError
from tccap.front import filecapture, launcher, signals, supervisor
from tccap.front.arguments import Request
from tccap.front.options import Options

END = (
    '{"event": "end", "received": 9, "accepted": 8, "dropped": 2, "unattributed": 0, '
    '"complete": true, "undelivered": 1, "overflowed_sockets": 0, '
    '"unrecorded_sockets": 0, "overflowed_processes": 0}'
)
READY = 'print(\'{"event": "ready"}\', file=sys.stderr, flush=True)'
WRITE = f"os.write(1, {HEADS + block(PACKET) * 5!r})"
UNTIL_STOPPED = "sys.stdin.read()"
REPORT = f"print('{END}', file=sys.stderr, flush=True)"


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Put back what a capture does to the process."""
    numbers = (*signals.STOP_SIGNALS, signal.SIGALRM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    logging.disable(logging.NOTSET)
    signal.set_wakeup_fd(-1)
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Yield what has a script take the engine's place."""
    with contextlib.ExitStack() as engines:

        def start(*code: str, stream_fd: int) -> "subprocess.Popen[bytes]":
            engine = subprocess.Popen(
                [sys.executable, "-c", "\n".join(("import os, sys", *code))],
                stdin=subprocess.PIPE,
                stdout=stream_fd,
                stderr=subprocess.PIPE,
            )
            return engines.enter_context(engine)

        def use(*code: str) -> None:
            monkeypatch.setattr(launcher, "need_right", lambda: None)
            monkeypatch.setattr(supervisor, "SLOW_START_S", 3600)
            monkeypatch.setattr(
                launcher, "start", lambda fd: start(*code, stream_fd=fd)
            )

        yield use


def _request(path: Path, *, packets_max: int | None = None, pid: str = "") -> Request:
    chosen = Options(pid=pid)
    return Request("lo", str(path), packets_max, None, "", chosen)


def test_the_counts_are_shown(
    use: Callable[..., None], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    use(READY, WRITE, UNTIL_STOPPED, REPORT)
    filecapture.capture(_request(tmp_path / "file", packets_max=3))
    out, err = capfd.readouterr()
    assert out == ""
    first, warning, last = err.splitlines()
    assert first == "Capturing on lo; Ctrl-C ends it."
    assert warning.startswith("Warning: 2 of 8 packets were lost")
    assert last == "3 packets captured, 8 received by filter, 3 dropped"


def test_an_engine_that_does_not_start_shows_no_counts(
    use: Callable[..., None], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    use("sys.exit('the reason')")
    with pytest.raises(
        TccapError, match=r"The capturing process did not start \(the reason\)"
    ):
        filecapture.capture(_request(tmp_path / "file"))
    assert capfd.readouterr() == ("", "")


def test_an_engine_that_is_killed_leaves_what_it_wrote(
    use: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    use(READY, WRITE, "os.kill(os.getpid(), 9)")
    monkeypatch.setattr(launcher, "sweep", lambda: None)
    with pytest.raises(
        TccapError, match=r"The capturing process was ended by signal 9\."
    ):
        filecapture.capture(_request(tmp_path / "file"))
    # How many were received is not known.
    assert capfd.readouterr().err.splitlines()[-1] == "5 packets captured"
    assert (tmp_path / "file").read_bytes() == HEADS + block(PACKET) * 5


def test_a_process_that_does_not_exist_is_told_before(
    use: Callable[..., None], tmp_path: Path
) -> None:
    use("sys.exit('never started')")
    with subprocess.Popen(["true"]) as gone:
        pass
    with pytest.raises(TccapError, match=rf"There is no process {gone.pid}: choose"):
        filecapture.capture(_request(tmp_path / "file", pid=str(gone.pid)))
    assert not (tmp_path / "file").exists()
