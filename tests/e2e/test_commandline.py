"""Captures into a file by ``tccap -w``, read back by tshark and capinfos."""

import os
import pty
import signal
import subprocess
import time
from pathlib import Path

import pytest

from support import netns, running, stream, tc
from support.commandline import (
    READY,
    capturing,
    fields,
    packets_of,
    run,
    send,
)
from support.tls import TlsHost
from support.tlsclients import CLIENTS
from tccap.paths import SCRIPT

UDP = ("udp", "port", "9")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_ends_it_with_exact_counts(
    pair: netns.Pair, folder: Path, number: signal.Signals
) -> None:
    file = folder / "file.pcapng"
    with capturing(pair.near, "-i", "veth0", "-w", str(file), *UDP) as capture:
        send(pair, 7)
        send(pair, 2, port=10)
        capture.interrupt(number)
        assert capture.end() == ((7, 7, 0), "")
    assert packets_of(file) == 7
    assert stream.parse(file.read_bytes()).counts[0].accepted == 7
    assert file.stat().st_mode & 0o777 == 0o600
    assert tc.left(pair.near) == []


def test_packets_have_their_processes(pair: netns.Pair, folder: Path) -> None:
    file = folder / "file.pcapng"
    with capturing(pair.near, "-i", "any", "-w", str(file), "-c", "3", *UDP) as capture:
        send(pair, 3)
        capture.end()
    comments = [line[0] for line in fields(file, "frame.comment")]
    assert len(comments) == 3
    # Without kprobes the sender of a socket's first datagram is not known.
    assert all(f"pid={os.getpid()} " in comment for comment in comments), comments
    assert comments[-1].startswith(f"pid={os.getpid()} ")


def test_each_device_is_described_by_its_name(pair: netns.Pair, folder: Path) -> None:
    """Wireshark shows the description in place of the name."""
    file = folder / "file.pcapng"
    with capturing(pair.near, "-i", "any", "-w", str(file), "-c", "1", *UDP) as capture:
        send(pair, 1)
        capture.end()
    shown = subprocess.run(
        ["capinfos", str(file)], check=True, capture_output=True, text=True
    ).stdout
    for name in ("lo", "veth0"):
        assert f"Description = {name}: eBPF TC (pid-aware)" in shown


@pytest.mark.same_everywhere
def test_a_device_may_be_given_by_an_alternative_name(
    pair: netns.Pair, folder: Path
) -> None:
    pair.near.ip("link", "property", "add", "dev", "veth0", "altname", "uplink0")
    file = folder / "file.pcapng"
    words = ("-i", "uplink0", "-w", str(file), "-c", "1", *UDP)
    with capturing(pair.near, *words) as capture:
        send(pair, 1)
        capture.end()
    found = stream.parse(file.read_bytes())
    assert [interface.name for interface in found.interfaces] == ["veth0"]


def test_a_key_log_decrypts_what_is_in_the_file(
    tls_host: TlsHost, folder: Path
) -> None:
    file, keys = folder / "file.pcapng", folder / "keys"
    options = ("--keylog-file", str(keys), "--tls", "off")
    with capturing(tls_host.space, "-i", "lo", "-w", str(file), *options) as capture:
        with tls_host.serving("python") as port:
            tls_host.get(CLIENTS["curl"], port, "page", SSLKEYLOGFILE=str(keys))
        capture.interrupt()
        capture.end()
    assert ["/page"] in fields(file, "http.request.uri")


def test_a_process_that_does_not_exist_is_a_sentence(folder: Path) -> None:
    with subprocess.Popen(["true"]) as gone:
        pass
    file = folder / "file.pcapng"
    done = run("-i", "lo", "-w", str(file), "--pid", str(gone.pid))
    assert done.returncode == 1
    assert done.stderr == f"There is no process {gone.pid}: choose running processes.\n"
    assert not file.exists()


def test_the_options_of_the_dialog_are_options(pair: netns.Pair, folder: Path) -> None:
    file = folder / "file.pcapng"
    options = ("--pid", str(os.getpid()), "--label", "off", "--children", "-s", "60")
    with capturing(pair.near, "-i", "veth0", "-w", str(file), *options) as capture:
        send(pair, 2)
        capture.interrupt()
        capture.end()
    found = fields(file, "frame.comment", "udp.dstport", "frame.cap_len")
    assert found == [["", "9", "60"]] * 2


def test_a_process_filter_leaves_others_out(pair: netns.Pair, folder: Path) -> None:
    file = folder / "file.pcapng"
    with capturing(
        pair.near, "-i", "veth0", "-w", str(file), "--comm", "nobody-at-all"
    ) as capture:
        send(pair, 5)
        capture.interrupt()
        assert capture.end()[0] == (0, 0, 0)
    assert packets_of(file) == 0


@pytest.mark.parametrize("wanted", [1, 100])
def test_c_stops_after_exactly_so_many(
    pair: netns.Pair, folder: Path, wanted: int
) -> None:
    file = folder / "file.pcapng"
    arguments = ("-i", "veth0", "-w", str(file), "-c", str(wanted))
    with capturing(pair.near, *arguments, *UDP) as capture:
        send(pair, 1000)
        counts, _ = capture.end()
    assert (counts.captured, counts.dropped) == (wanted, 0)
    assert packets_of(file) == wanted
    assert stream.parse(file.read_bytes()).counts


def test_a_stops_after_seconds_of_capturing(pair: netns.Pair, folder: Path) -> None:
    file = folder / "file.pcapng"
    arguments = ("-i", "veth0", "-w", str(file), "-a", "duration:1.5")
    with capturing(pair.near, *arguments, *UDP) as capture:
        started = time.monotonic()
        send(pair, 4)
        assert capture.end()[0] == (4, 4, 0)
    assert time.monotonic() - started > 1.4
    assert packets_of(file) == 4


def test_the_file_is_whole_if_the_front_is_killed(
    pair: netns.Pair, folder: Path
) -> None:
    file = folder / "file.pcapng"
    with capturing(pair.near, "-i", "veth0", "-w", str(file), *UDP) as capture:
        send(pair, 500)
        capture.process.kill()
        capture.process.wait()
        capture.errors()  # returns when the process that writes has ended, too
    assert packets_of(file) == 500
    assert stream.parse(file.read_bytes()).counts[0].accepted == 500
    # The end of a process closes the pipe a moment before the programs.
    running.until(lambda: tc.left(pair.near) == [], "the end of the capture")


def test_a_full_disk_is_a_sentence_and_the_file_stays_valid(
    pair: netns.Pair, folder: Path
) -> None:
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    subprocess.run(mount, check=True)
    try:
        file = disk / "file.pcapng"
        with capturing(pair.near, "-i", "veth0", "-w", str(file), *UDP) as capture:
            send(pair, 400, length=1000)
            counts, error = capture.end(status=1)
        assert error == (
            f"{file} cannot be written any more, so the capture ended: No space left "
            "on device."
        )
        assert packets_of(file) == counts.captured < 400
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_an_existing_file_is_overwritten_only_by_a_capture(
    pair: netns.Pair, folder: Path
) -> None:
    file = folder / "file.pcapng"
    file.write_bytes(bytes(100_000))
    assert run("-i", "no-such", "-w", str(file)).returncode == 1
    assert file.read_bytes() == bytes(100_000)
    with capturing(pair.near, "-i", "veth0", "-w", str(file), "-c", "1") as capture:
        send(pair, 1)
        capture.end()
    assert packets_of(file) == 1


def test_stdout_leads_into_another_program(pair: netns.Pair) -> None:
    reading, writing = os.pipe()
    arguments = ("-i", "veth0", "-w", "-", *UDP)
    with capturing(pair.near, *arguments, stdout=writing) as capture:
        os.close(writing)
        with os.fdopen(reading, "rb") as reader:
            output = running.Collector(reader)
            send(pair, 3)
            capture.interrupt()
            assert capture.end() == ((3, 3, 0), "")
            assert len(stream.parse(output.rest()).frames) == 3


def test_it_ends_with_its_reader_without_another_packet(pair: netns.Pair) -> None:
    reading, writing = os.pipe()
    arguments = ("-i", "veth0", "-w", "-", *UDP)
    with capturing(pair.near, *arguments, stdout=writing) as capture:
        os.close(writing)
        os.close(reading)
        assert capture.end()[1] == ""
    assert tc.left(pair.near) == []


@pytest.mark.same_everywhere
@pytest.mark.parametrize("closed", ["2>&-", "<&- 2>&-"])
def test_closed_standard_files_are_not_taken_by_others(
    pair: netns.Pair, closed: str
) -> None:
    """As daemons and cron jobs may leave them."""
    script = f"exec {SCRIPT} -i veth0 -w - -c 3 udp port 9 {closed}"
    with subprocess.Popen(
        pair.near.command("sh", "-c", script), stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        output = running.Collector(process.stdout)

        def has_ended() -> bool:
            send(pair, 1)  # there is no sign of the start
            return process.poll() is not None

        running.until(has_ended, "the end after three packets")
        assert process.returncode == 0
    assert len(stream.parse(output.rest()).frames) == 3


def test_packets_are_not_written_to_a_terminal() -> None:
    ours, terminal = pty.openpty()
    done = subprocess.run(
        [SCRIPT, "-i", "lo", "-w", "-"],
        check=False,
        stdout=terminal,
        stderr=subprocess.PIPE,
        timeout=running.DEADLINE_S,
    )
    os.close(terminal)
    os.close(ours)
    assert done.returncode == 1
    assert done.stderr.startswith(b"Packets are not written to a terminal: name a file")


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("-i", "lo"), 2, "-w is missing, where to write the packets: -w FILE"),
        (("-w", "FILE"), 2, "-i is missing, the device to capture from: run"),
        (("--no-such",), 2, "The command line is not right: unrecognized arguments"),
        (("-i", "lo", "-w", "FILE", "-b", "files:3"), 2, "-b: tccap does not split"),
        (("-i", "lo", "-w", "FILE", "-c", "0"), 2, "-c is a number of packets"),
        (("-i", "lo", "-w", "FILE", "-a", "9"), 2, "-a is duration:SECONDS, such"),
        (("-i", "lo", "-w", "FILE", "--label", "x"), 2, "--label is one of off, sh"),
        (("-i", "gone", "-w", "FILE"), 1, "There is no network device 'gone'."),
        (("-i", "lo", "-w", "FILE", "tcp", "prt"), 1, "The capture filter is not ri"),
        (("-i", "lo", "-w", "/no/such"), 1, "/no/such cannot be written: No such"),
        (("-i", "lo", "-w", "/"), 1, "/ cannot be written: Is a directory."),
    ],
)
def test_mistakes_are_one_sentence(
    folder: Path, arguments: tuple[str, ...], status: int, sentence: str
) -> None:
    file = folder / "file"
    done = run(*(str(file) if word == "FILE" else word for word in arguments))
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith(sentence)
    assert done.stderr.count("\n") == 1
    assert not file.exists()


def test_d_lists_the_devices(pair: netns.Pair) -> None:
    done = pair.near.run(SCRIPT, "-D")
    assert done == "any\nlo\nveth0\n"


def test_a_second_signal_changes_nothing(pair: netns.Pair, folder: Path) -> None:
    file = folder / "file.pcapng"
    with capturing(pair.near, "-i", "veth0", "-w", str(file), *UDP) as capture:
        send(pair, 1)
        for _ in range(3):
            capture.interrupt()
        assert capture.end() == ((1, 1, 0), "")
    assert READY.decode() not in file.read_text("latin-1")
