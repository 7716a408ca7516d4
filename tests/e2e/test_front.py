"""The front as Wireshark starts it, without Wireshark."""

import os
import select
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from support import netns, running, stream
from support.wireshark import Captures, front
from tccap.front.launcher import SUDO
from tccap.paths import SCRIPT


def _say(pair: netns.Pair, text: bytes) -> None:
    with pair.near.entered(), socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.sendto(text, (pair.far_address, 9))


def _assert_silent_end(captures: Captures) -> None:
    stdout, stderr = captures.finish()
    assert (stdout, stderr) == ("", "")
    assert captures.process.returncode == 0
    assert captures.left() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stop_signal_is_a_silent_end(
    pair: netns.Pair, folder: Path, number: signal.Signals
) -> None:
    with front(pair.near, folder) as (captures, output):
        _say(pair, b"before the end")
        output.wait_for(b"before the end")
        os.killpg(captures.process.pid, number)
        _assert_silent_end(captures)
    found = stream.parse(output.rest())
    assert len(found.frames) == found.counts[0].received == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_stop_signal_that_was_ignored_at_the_start_stays_ignored(
    pair: netns.Pair, folder: Path, number: signal.Signals
) -> None:
    """As under nohup(1), when the terminal is closed."""
    name = number.name.removeprefix("SIG")
    prefix = ("env", f"--ignore-signal={name}")
    with front(pair.near, folder, prefix=prefix) as (captures, output):
        os.killpg(captures.process.pid, number)
        _say(pair, b"after the signal")
        output.wait_for(b"after the signal")
        captures.process.terminate()
        _assert_silent_end(captures)


def test_a_second_signal_changes_nothing(pair: netns.Pair, folder: Path) -> None:
    with front(pair.near, folder) as (captures, output):
        for _ in range(3):
            captures.process.terminate()
        _assert_silent_end(captures)
    assert stream.parse(output.rest()).counts


def test_the_reader_goes_away(pair: netns.Pair, folder: Path) -> None:
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    command = (SCRIPT, "--capture", "--extcap-interface", "tccap-veth0")
    with running.started(pair.near.command(*command, "--fifo", str(fifo))) as process:
        select.select([reader], [], [], running.DEADLINE_S)
        assert os.read(reader, 4) == b"\x0a\x0d\x0d\x0a"
        os.close(reader)
        assert process.communicate(timeout=running.DEADLINE_S) == (b"", b"")
        assert process.returncode == 0


@pytest.mark.parametrize("victim", ["front", "engine"])
def test_a_kill_leaves_a_readable_stream(
    pair: netns.Pair, folder: Path, victim: str
) -> None:
    with front(pair.near, folder) as (captures, output):
        _say(pair, b"before the kill")
        output.wait_for(b"before the kill")
        (pid,) = captures.fronts if victim == "front" else captures.engines
        os.kill(pid, signal.SIGKILL)
        _, stderr = captures.finish()
        assert captures.left() == []
    assert stream.parse(output.rest()).frames
    if victim == "engine":
        assert stderr == "The capturing process was ended by signal 9.\n"


def test_dumpcap_reads_the_fifo(pair: netns.Pair, folder: Path) -> None:
    fifo, file = folder / "fifo", folder / "file.pcapng"
    os.mkfifo(fifo)
    dump = ("dumpcap", "-q", "-i", str(fifo), "-w", str(file), "-c", "50")
    capture = (SCRIPT, "--capture", "--extcap-interface", "tccap-veth0")
    with (
        running.started([*dump]) as reader,
        running.started(pair.near.command(*capture, "--fifo", str(fifo))) as writer,
    ):

        def done() -> bool:
            _say(pair, b"to dumpcap")
            return reader.poll() is not None

        running.until(done, "50 packets in dumpcap")
        assert writer.communicate(timeout=running.DEADLINE_S)[1] == b""
        assert (reader.returncode, writer.returncode) == (0, 0)
    found = stream.parse(file.read_bytes())
    assert [f.data[42:] for f in found.frames] == [b"to dumpcap"] * 50


def test_an_existing_file_is_overwritten(pair: netns.Pair, folder: Path) -> None:
    file = folder / "file.pcapng"
    file.write_bytes(bytes(100_000))
    command = (SCRIPT, "--capture", "--extcap-interface", "tccap-veth0")
    with running.started(pair.near.command(*command, "--fifo", str(file))) as process:

        def captured() -> bool:
            _say(pair, b"into a file")
            return b"into a file" in file.read_bytes()

        running.until(captured, "a packet in the file")
        process.terminate()
        assert process.communicate(timeout=running.DEADLINE_S)[1] == b""
    assert stream.parse(file.read_bytes()).frames


ORDINARY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


def _capture(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*arguments, "--capture"],
        check=False,
        capture_output=True,
        text=True,
        timeout=running.DEADLINE_S,
    )


@pytest.mark.skipif(Path(SUDO).exists(), reason="tests/install is with sudo")
def test_without_sudo_an_ordinary_user_gets_the_reason(folder: Path) -> None:
    file = folder / "file"
    file.touch()
    for path in (file, *folder.parents[:3], folder):
        path.chmod(0o777 if path == file else 0o755)
    done = _capture(
        *ORDINARY, SCRIPT, "--fifo", str(file), "--extcap-interface", "tccap-lo"
    )
    assert done.returncode == 1
    assert done.stderr == (
        "Capturing needs root where there is no sudo: start tshark or Wireshark "
        "as root.\n"
    )


@pytest.mark.parametrize(
    ("interface", "sentence"),
    [
        ("tccap-absent", "There is no network device 'absent'.\n"),
        ("eth0", "Interfaces are named tccap-..., not 'eth0'.\n"),
        ("tccap-", "The plan's device is not acceptable.\n"),
        ("tccap-far-too-long-a-name", "The plan's device is not acceptable.\n"),
    ],
)
def test_an_unknown_interface_is_reported(
    folder: Path, interface: str, sentence: str
) -> None:
    file = folder / "file"
    file.touch()
    done = _capture(SCRIPT, "--fifo", str(file), "--extcap-interface", interface)
    assert (done.returncode, done.stderr) == (1, sentence)


def test_the_callers_environment_does_no_harm(pair: netns.Pair, folder: Path) -> None:
    trap = folder / "json.py"
    trap.write_text("raise SystemExit('the wrong json')\n")
    done = subprocess.run(
        pair.near.command(SCRIPT, "--extcap-interfaces"),
        check=True,
        capture_output=True,
        text=True,
        cwd=folder,
        env={
            "PYTHONPATH": str(folder),
            "PYTHONHOME": "/nowhere",
            "BCC_KERNEL_SOURCE": "/nowhere",
            "PATH": os.environ["PATH"],
        },
    )
    assert "tccap-veth0" in done.stdout
    assert done.stderr == ""
