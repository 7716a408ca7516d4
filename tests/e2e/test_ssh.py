"""``tccap -w -`` on another machine, by a real sshd: over ssh, and by sshdump.

The other machine is the near namespace; ours is the far one, with a veth between them.
"""

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import netns, running, sshd, stream, tc, wireshark
from support.commandline import COUNTS, READY, fields, send
from support.sshd import Host

BUT_SSH = ("not", "port", "22")
REMOTE = ("tccap", "-i", "any", "-w", "-")


@pytest.fixture(scope="module")
def host(pair: netns.Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("sshd")
    with sshd.host(pair.near, pair.near_address, folder) as made:
        yield made


@contextlib.contextmanager
def _remote(
    pair: netns.Pair, host: Host, *words: str, stdout: int = subprocess.PIPE
) -> "Iterator[tuple[subprocess.Popen[bytes], running.Collector]]":
    """Yield ssh and its stderr, once the command there captures."""
    command = [*host.ssh, "root@HOST", *REMOTE, *words]
    with subprocess.Popen(
        pair.far.command(*command),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr
        errors = running.Collector(process.stderr)
        try:
            errors.wait_for(READY)
            yield process, errors
        finally:
            process.kill()


def test_packets_and_processes_arrive_in_tshark(pair: netns.Pair, host: Host) -> None:
    with _remote(pair, host, "-c", "5", *BUT_SSH) as (ssh, errors):
        names = ("frame.comment", "udp.dstport", "frame.interface_name")
        words = [word for name in names for word in ("-e", name)]
        with subprocess.Popen(
            ["tshark", "-r", "-", "-T", "fields", *words],
            stdin=ssh.stdout,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as tshark:
            send(pair, 5)
            shown, _ = tshark.communicate(timeout=running.DEADLINE_S)
        assert ssh.wait(running.DEADLINE_S) == 0
    lines = [line.split("\t") for line in shown.splitlines()]
    assert [line[1:] for line in lines] == [["9", "veth0"]] * 5
    assert f"pid={os.getpid()} " in lines[-1][0]
    match = COUNTS.search(errors.rest().decode())
    assert match
    assert (match[1], match[3]) == ("5", "0")


def test_a_stream_that_ends_in_order_is_whole(pair: netns.Pair, host: Host) -> None:
    with _remote(pair, host, "-a", "duration:1", *BUT_SSH) as (ssh, _):
        assert ssh.stdout
        output = running.Collector(ssh.stdout)
        send(pair, 40)
        assert ssh.wait(running.DEADLINE_S) == 0
    found = stream.parse(output.rest())
    assert len(found.frames) == 40
    assert found.counts


@pytest.mark.parametrize("way", ["ssh is killed", "its reader closes"])
def test_the_capture_there_ends_with_ssh(
    pair: netns.Pair, host: Host, way: str
) -> None:
    reading, writing = os.pipe()
    with _remote(pair, host, *BUT_SSH, stdout=writing) as (ssh, _):
        os.close(writing)
        assert tc.left(pair.near)
        if way == "ssh is killed":
            ssh.kill()
        os.close(reading)
        send(pair, 1)  # so that ssh notices that its own reader has gone
        ssh.wait(running.DEADLINE_S)
        running.until(lambda: tc.left(pair.near) == [], "the end of the capture")


def test_a_mistake_is_told_here(pair: netns.Pair, host: Host) -> None:
    done = subprocess.run(
        pair.far.command(*host.ssh, "root@HOST", *REMOTE, "tcp", "prt"),
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=running.DEADLINE_S,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("The capture filter is not right:")


def test_sshdump_with_its_remote_command(
    pair: netns.Pair, host: Host, folder: Path
) -> None:
    fifo, file = folder / "fifo", folder / "file.pcapng"
    os.mkfifo(fifo)
    remote = " ".join([*REMOTE, "-c", "4", *BUT_SSH])
    command = (
        *(
            f"{wireshark.global_folder()}/sshdump",
            "--capture",
            "--extcap-interface",
            "sshdump",
        ),
        *("--fifo", str(fifo), "--remote-capture-command", remote),
        *("--remote-host", host.address, "--remote-username", "root"),
        *("--remote-port", str(sshd.PORT), "--sshkey", str(host.key)),
    )
    home = {**os.environ, "HOME": str(folder)}  # libssh notes known hosts there
    with subprocess.Popen(pair.far.command(*command), env=home) as process:
        try:
            _copy_under_traffic(pair, fifo, file)
            assert process.wait(running.DEADLINE_S) == 0
        finally:
            process.kill()
    found = fields(file, "udp.dstport", "frame.comment")
    assert [line[0] for line in found] == ["9"] * 4
    assert f"pid={os.getpid()} " in found[-1][1]
    running.until(lambda: tc.left(pair.near) == [], "the end of the capture")


def _copy_under_traffic(pair: netns.Pair, fifo: Path, file: Path) -> None:
    """Read all of a FIFO into a file, and send until it ends.

    sshdump shows nobody that the command there captures.
    """
    with fifo.open("rb") as reader:
        output = running.Collector(reader)
        with pair.near.entered(), socket.socket(type=socket.SOCK_DGRAM) as sock:
            while not output.wait_for_end(0.01):
                sock.sendto(b"packet", (pair.far_address, netns.DISCARD_PORT))
        file.write_bytes(output.rest())
