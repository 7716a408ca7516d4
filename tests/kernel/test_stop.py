"""Every way in which a capture ends, and that it ends."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import expressions
from support import bpf, netns, running, stream, tc
from support.flood import flood


@pytest.fixture(scope="module")
def quiet() -> Iterator[netns.Pair]:
    with netns.pair() as made:
        yield made
        assert tc.left(made.near) == []


@pytest.fixture(scope="module")
def hanging(quiet: netns.Pair) -> "Iterator[tuple[subprocess.Popen[bytes], int]]":
    """An engine that was asked to end while libpcap hangs, and libpcap's process.

    A long filter is waited for longer: the end takes 15 s (`engine.control`), in which
    the other tests run.
    """
    filters = [f"tcp and ({expressions.many_hosts(1500)})"]  # not in parts: seconds
    with _preparing(quiet, filters) as process:
        assert process.stdin
        running.until(
            lambda: any(map(_is_confined, _children(process.pid))), "libpcap's process"
        )
        [libpcap] = _children(process.pid)
        os.kill(libpcap, signal.SIGSTOP)
        process.stdin.close()
        yield process, libpcap
        process.kill()


@pytest.mark.same_everywhere
@pytest.mark.usefixtures("hanging")
def test_the_reader_exits_during_silence(quiet: netns.Pair) -> None:
    read_fd, write_fd = os.pipe()
    with running.engine(quiet.near, "veth0", stdout=write_fd) as engine:
        os.close(write_fd)
        os.close(read_fd)
        assert engine.process.wait(running.DEADLINE_S) == 0
    assert "error" not in {event["event"] for event in engine.events()}


@pytest.mark.parametrize("takes_some", [False, True])
def test_the_reader_does_not_take_all(quiet: netns.Pair, takes_some: bool) -> None:
    """Packets without a reader are dropped, and counted."""
    read_fd, write_fd = os.pipe()
    taken = bytearray()
    stopping, pause = threading.Event(), threading.Event()

    def take_some() -> None:
        stopping.wait()
        while takes_some and (more := os.read(read_fd, 4000)):
            taken.extend(more)
            pause.wait(0.02)

    reader = threading.Thread(target=take_some)
    reader.start()
    with os.fdopen(read_fd, "rb") as pipe, quiet.near.entered():
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.connect((quiet.far_address, 9))
        with sock, running.engine(quiet.near, "veth0", stdout=write_fd) as engine:
            os.close(write_fd)
            programs = bpf.programs_of(engine.process.pid)
            flood(sock, 1000, 5000)  # five times the capacity of the pipe
            stopping.set()
            end = engine.end()
        reader.join()
        taken += pipe.read()
        blocks = stream.blocks(stream.whole_blocks(bytes(taken)))
        whole = sum(kind == stream.EPB for kind, _ in blocks)
        assert not end["complete"]
        assert whole + end["undelivered"] + end["dropped"] == end["accepted"]
        running.until(
            lambda: not any(map(bpf.program_exists, programs)), "an end of programs"
        )


@pytest.mark.same_everywhere
def test_sigterm_ends_and_the_terminals_signals_do_not(quiet: netns.Pair) -> None:
    with running.engine(quiet.near, "veth0") as engine:
        engine.process.send_signal(signal.SIGINT)
        engine.process.send_signal(signal.SIGHUP)
        with quiet.near.entered(), socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.sendto(b"still there", (quiet.far_address, 9))
        assert engine.output
        engine.output.wait_for(b"still there")
        engine.process.send_signal(signal.SIGTERM)
        assert engine.process.wait(running.DEADLINE_S) == 0
        found = engine.whole()
    assert found.counts[0].received == len(found.frames)


@pytest.mark.same_everywhere
def test_a_full_disk_is_reported(quiet: netns.Pair) -> None:
    with (
        Path("/dev/full").open("wb") as full,
        pytest.raises(AssertionError, match="cannot be written: No space left"),
        running.engine(quiet.near, "veth0", stdout=full.fileno()),
    ):
        pass


def _run(space: netns.Namespace, stdin: bytes) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        space.command(*running.engine_command()),
        input=stdin,
        capture_output=True,
        check=False,
        timeout=running.DEADLINE_S,
    )


@pytest.mark.same_everywhere
def test_a_stop_during_the_start(quiet: netns.Pair) -> None:
    plan = json.dumps({**running.PLAN, "device": "veth0"}).encode()
    done = _run(quiet.near, plan + b"\n")
    assert done.returncode == 0
    found = stream.parse(done.stdout)
    assert [interface.name for interface in found.interfaces] == ["veth0"]


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for each in tasks for child in each.read_text().split()]


@contextlib.contextmanager
def _preparing(
    quiet: netns.Pair, filters: list[str]
) -> "Iterator[subprocess.Popen[bytes]]":
    """Yield an engine that has been asked for a capture with these filters."""
    plan = {**running.PLAN, "device": "veth0", "filters": filters}
    with subprocess.Popen(
        quiet.near.command(*running.engine_command()),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        process.stdin.write(json.dumps(plan).encode() + b"\n")
        process.stdin.flush()
        yield process


@pytest.mark.same_everywhere
def test_a_stop_while_compiling_ends_the_compiler(quiet: netns.Pair) -> None:
    """A filter that was never compiled before takes the compiler some time."""
    hosts = (
        f"host 10.{os.getpid() >> 8 & 255}.{n}.{os.getpid() & 255}" for n in range(99)
    )
    with _preparing(quiet, [" or ".join(hosts)]) as process:
        assert process.stdin
        confined: list[int] = []

        def is_compiling() -> bool:
            confined[:] = [
                child for child in _children(process.pid) if _is_confined(child)
            ]
            return bool(confined)

        running.until(is_compiling, "a compiler")
        process.stdin.close()
        assert process.wait(running.DEADLINE_S) == 0
        running.until(
            lambda: not any(Path(f"/proc/{pid}").exists() for pid in confined),
            "an end of the compiler",
        )


def _is_confined(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "\nSeccomp:\t2\n" in Path(f"/proc/{pid}/status").read_text()
    return False


def test_the_engine_ends_without_a_plan(quiet: netns.Pair) -> None:
    done = _run(quiet.near, b"")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.same_everywhere
@pytest.mark.parametrize(
    ("stdin", "sentence"),
    [
        (
            b"half a plan",
            "This program is not run by hand: use tshark or tccap -i any -w FILE.",
        ),
        (
            b"x" * (2 << 20),
            "This program is not run by hand: use tshark or tccap -i any -w FILE.",
        ),
        (b"nonsense\n", "The plan is not JSON."),
        (b"[" * 500_000 + b"\n", "The plan is not JSON."),
        (b"{}\n", "The plan does not have exactly the known fields."),
        (b"\xff\xfe\n", "The plan is not JSON."),
    ],
    ids=["half", "endless", "nonsense", "deep", "empty", "binary"],
)
def test_a_bad_plan_is_one_sentence(
    quiet: netns.Pair, stdin: bytes, sentence: str
) -> None:
    done = _run(quiet.near, stdin)
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert events == [{"event": "error", "message": sentence}]
    assert done.returncode == 1
    assert done.stdout == b""


@pytest.mark.same_everywhere
def test_a_stop_while_libpcap_hangs_ends_the_engine(
    hanging: "tuple[subprocess.Popen[bytes], int]",
) -> None:
    """Its user can stop that process."""
    engine, libpcap = hanging
    assert engine.wait(running.DEADLINE_S) == -signal.SIGALRM
    running.until(lambda: not Path(f"/proc/{libpcap}").exists(), "its end")
