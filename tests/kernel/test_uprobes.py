"""Probes on a file, beside those of others and again after they were detached."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from bcc import lib

from support import probing, running
from tccap.tls.uprobes import CLOSED_AT_ONCE, ENTRY, EVERY_PROCESS, Uprobes


@pytest.fixture
def probes() -> Iterator[Uprobes]:
    made = probing.uprobes()
    yield made
    made.close()


@pytest.fixture
def program(tmp_path: Path) -> Iterator[tuple[Path, int, int]]:
    """Return a program: its path, its descriptor, and where its function is."""
    built = probing.program(tmp_path, probing.OLD)
    path = tmp_path / "program"
    probing.install(path, built.content)
    fd = os.open(path, os.O_RDONLY)
    yield path, fd, built.offset
    os.close(fd)


def test_another_tracer_can_probe_the_same_place(
    probes: Uprobes, program: tuple[Path, int, int]
) -> None:
    path, fd, offset = program
    probes.attach(fd, probing.site(offset))
    anothers = probes._program(1)
    second = lib.bpf_attach_uprobe(
        anothers, ENTRY, b"another", bytes(path), offset, EVERY_PROCESS, 0
    )
    assert second >= 0
    lib.bpf_close_perf_event_fd(second)


def test_a_probe_is_there_until_it_is_closed(
    probes: Uprobes, program: tuple[Path, int, int]
) -> None:
    path, fd, offset = program
    probes.attach(fd, probing.site(offset))
    with probing.running(path) as pid:
        assert probing.is_probed(pid, path, offset)
        probes.close()
        assert not probing.is_probed(pid, path, offset)


def test_probes_are_detached_where_no_thread_can_be_started(
    probes: Uprobes,
    program: tuple[Path, int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As at a limit of processes: the file is about to change."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    path, fd, offset = program
    probes.attach(fd, probing.site(offset))
    monkeypatch.setattr(threading.Thread, "start", refuse)
    probes.close()
    monkeypatch.undo()
    with probing.running(path) as pid:
        assert not probing.is_probed(pid, path, offset)


def test_many_probes_are_detached_after_their_process_has_ended(
    probes: Uprobes, program: tuple[Path, int, int]
) -> None:
    path, fd, offset = program
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(writer)
            for _ in range(CLOSED_AT_ONCE + 1):
                probes.attach(fd, probing.site(offset))
            os.read(reader, 1)
            probes.close()
            os._exit(0)
        finally:
            os._exit(1)
    os.close(reader)
    with probing.running(path) as probed:
        running.until(lambda: probing.is_probed(probed, path, offset), "probes")
        os.close(writer)
        assert os.waitpid(pid, 0)[1] == 0
        running.until(lambda: not probing.is_probed(probed, path, offset), "no probes")
