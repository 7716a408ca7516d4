"""The front's half of a capture, with stand-ins for the engine."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tccap import paths
from tccap.errors import TccapError
from tccap.front import front, launcher, signals, supervisor
from tccap.ipc.status import Ready

END = (
    '{"event": "end", "received": 9, "accepted": 9, "dropped": %d, "unattributed": 0, '
    '"complete": %s, "undelivered": 5, "overflowed_sockets": 0, '
    '"unrecorded_sockets": 0, "overflowed_processes": 0}'
)


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Put back what the supervisor does to the process."""
    numbers = (*signals.STOP_SIGNALS, signal.SIGALRM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    signal.set_wakeup_fd(-1)
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _fast_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no start be slow, unless a test is about that."""
    monkeypatch.setattr(supervisor, "SLOW_START_S", 3600)


def _supervise(*code: str) -> None:
    with _engine(*code) as engine:
        supervisor.Supervisor(engine).run("{}")


def _engine(*code: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", "\n".join(("import os, sys, signal", *code))],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _say(text: str) -> str:
    return f"print({text!r}, file=sys.stderr, flush=True)"


def test_a_normal_end_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    _supervise(_say('{"event": "ready"}'), _say(END % (0, "true")))
    assert capfd.readouterr() == ("", "")


def test_losses_are_one_warning(capfd: pytest.CaptureFixture[str]) -> None:
    _supervise(_say('{"event": "lost", "packets": 2}'), _say(END % (3, "true")))
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("[tccap WARNING] -- 3 of 9 packets were lost because")


def test_an_incomplete_end_is_one_warning(capfd: pytest.CaptureFixture[str]) -> None:
    _supervise(_say(END % (0, "false")))
    (line,) = capfd.readouterr().err.splitlines()
    assert "The last 5 packets were lost" in line


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ([_say('{"event": "error", "message": "No."}'), "sys.exit(1)"], "No."),
        (
            [_say('{"event": "ready"}'), "sys.exit(3)"],
            "The capturing process ended without a reason.",
        ),
        (["sys.exit(3)"], "The capturing process did not start .no reason given.: run"),
        (
            [_say("sudo: no"), "sys.exit(1)"],
            "process did not start .sudo: no.: run sudo ./install.sh again",
        ),
        (["os.kill(os.getpid(), signal.SIGKILL)"], "was ended by signal 9"),
        (["raise OSError('a traceback')"], "did not start .OSError: a traceback."),
    ],
)
def test_a_failure_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, code: list[str], sentence: str
) -> None:
    swept = []
    monkeypatch.setattr(launcher, "sweep", lambda: swept.append(True))
    with pytest.raises(TccapError, match=sentence):
        _supervise(*code)
    assert bool(swept) == ("signal" in sentence)


@contextlib.contextmanager
def _root_logger() -> Iterator[None]:
    """Let the front set up the log, and undo it."""
    root = logging.getLogger()
    before, level, root.handlers = root.handlers, root.level, []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers = before
    root.setLevel(level)


@pytest.mark.parametrize(
    ("interface", "code", "sentence"),
    [
        (
            "tccap-lo",
            (_say('{"event": "error", "message": "No."}'), "sys.exit(1)"),
            "No.",
        ),
        (
            "tccap-lo",
            ("sys.exit(3)",),
            "The capturing process did not start (no reason given)",
        ),
        ("eth0", (), "Interfaces are named tccap-..., not 'eth0'."),
    ],
)
def test_the_log_says_at_its_default_level_why_a_capture_ended(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    interface: str,
    code: tuple[str, ...],
    sentence: str,
) -> None:
    monkeypatch.setattr(signals, "on_stop", lambda _handler: None)
    log, stream = tmp_path / "log", tmp_path / "stream"
    stream.touch()
    call = ("--capture", "--extcap-interface", interface)
    with _root_logger(), _engine(*code) as engine:
        monkeypatch.setattr(launcher, "start", lambda _stream_fd: engine)
        assert front.main([*call, f"--fifo={stream}", f"--log-file={log}"]) == 1
    [line] = log.read_text().splitlines()
    assert f" ERROR {sentence}" in line


def test_an_engine_without_a_plan_has_ended_with_the_front(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(signals, "on_stop", lambda _handler: None)
    stream, asked = tmp_path / "stream", tmp_path / "asked"
    stream.touch()
    code = f"open({str(asked)!r}, 'w').write(sys.stdin.read() or 'nothing')"
    with _engine(code, "print('x' * 1000000, file=sys.stderr)") as engine:
        monkeypatch.setattr(launcher, "start", lambda _stream_fd: engine)
        call = ("--capture", "--extcap-interface", "eth0", f"--fifo={stream}")
        assert front.main([*call]) == 1
        assert engine.poll() == 0
    assert asked.read_text() == "nothing"


def test_a_slow_start_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "SLOW_START_S", 0)
    stop_fd, stopping_fd = os.pipe()
    told: list[str] = []

    def tell(text: str) -> None:
        told.append(text)
        os.close(stopping_fd)

    client = supervisor.Client(stop_fd, warn=pytest.fail, on_slow_start=tell)
    with _engine("sys.stdin.readline(); sys.stdin.read()") as engine:
        supervisor.Supervisor(engine, client=client).run("{}")
    os.close(stop_fd)
    assert told == ["Preparing the capture; packets are not captured yet."]


def test_a_capture_that_runs_is_not_slow() -> None:
    client = supervisor.Client(None, warn=pytest.fail, on_slow_start=pytest.fail)
    with _engine("sys.stdin.read()") as engine:
        watching = supervisor.Supervisor(engine, client=client)
        assert watching._timeout_ms()
        watching._take(Ready())
        assert watching._timeout_ms() is None
        engine.communicate()


def test_a_stop_signal_closes_the_engines_stdin() -> None:
    _supervise(
        "sys.stdin.readline()",
        "os.kill(os.getppid(), signal.SIGTERM)",
        "assert sys.stdin.read() == ''",
        _say(END % (0, "true")),
    )


def test_an_engine_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "STOP_DEADLINE_S", 1)
    monkeypatch.setattr(launcher, "sweep", lambda: None)
    with pytest.raises(TccapError, match="was ended by signal 9"):
        _supervise(
            "sys.stdin.readline()",
            "os.kill(os.getppid(), signal.SIGINT)",
            "signal.pause()",
        )


def test_an_engine_that_cannot_be_killed_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def kill(_engine: object) -> None:
        raise PermissionError

    monkeypatch.setattr(supervisor, "STOP_DEADLINE_S", 1)
    with monkeypatch.context() as denied:
        denied.setattr(subprocess.Popen, "kill", kill)
        with pytest.raises(TccapError, match="The capturing process does not end"):
            _supervise(
                "sys.stdin.readline()",
                "os.kill(os.getppid(), signal.SIGINT)",
                "signal.sigtimedwait([], 2)",
            )


def test_the_users_environment_stays_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/evil")
    monkeypatch.setenv("LD_PRELOAD", "/evil.so")
    assert set(launcher._environment()) == {"PATH", "LC_ALL"}


def test_the_python_beside_the_program_is_preferred(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    top = tmp_path_factory.mktemp("top")
    monkeypatch.setattr(paths, "TOP", str(top))
    assert paths.engine_python() == "/usr/bin/python3"
    (top / ".venv" / "bin").mkdir(parents=True)
    (top / ".venv" / "bin" / "python3").touch()
    assert paths.engine_python() == f"{top}/.venv/bin/python3"
