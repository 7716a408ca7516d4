"""The commands of docs/recipes.md, run as they stand there."""

import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from support import javaprograms, netns, running, sshd
from support.commandline import READY as READY_TO_CAPTURE
from support.decrypting import READY
from support.netns import Namespace
from support.tls import TlsHost
from support.tlsclients import CLIENTS
from support.wireshark import Log, Wireshark, watch
from tccap.paths import SCRIPT, TOP

PAGE = Path(TOP, "docs", "recipes.md")
REMOTE = "Capture on another machine"
JAVA = "Java programs"
ELSEWHERE = "Open a file on another machine"
SHARE = "Share a file without its secrets"
PCAP = "Save as pcap"
DEVICE = "One device of `tccap-any`"
FULL = "A full disk"
LAST = b"the last packet"
# The real ssh with a configuration for the tests; Wireshark is a tshark that ends by
# itself.
STAND_INS = {
    "ssh": '#!/bin/sh\nexec /usr/bin/ssh -F "$HOME/sshd/client" "$@"\n',
    "wireshark": '#!/bin/sh\nshift\nexec tshark "$@" -c 3 -w received.pcapng\n',
}


def _recipes() -> dict[str, list[str]]:
    """Return the commands of each section."""
    _, *sections = re.split(
        r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    titles = [section.partition("\n")[0] for section in sections]
    commands = [
        re.findall(r"^ {4}(.+)$", section, re.MULTILINE) for section in sections
    ]
    return dict(zip(titles, commands, strict=True))


RECIPES = _recipes()


class Desk(NamedTuple):
    """A folder with web.pcapng, and Wireshark's programs to run in it."""

    wireshark: Wireshark
    space: Namespace
    folder: Path

    def start(self, script: str) -> "subprocess.Popen[str]":
        """Start commands of the shell, which ends with the first that fails."""
        environment = {**self.wireshark.environment, "HOME": str(self.folder)}
        environment["PATH"] = f"{self.folder}/bin:{environment['PATH']}"
        return subprocess.Popen(
            self.wireshark.command(self.space, "sh", "-ec", script),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            cwd=self.folder,
        )

    def output(self, script: str, status: int = 0) -> str:
        """Run commands; return what they print."""
        with self.start(script) as process:
            output, _ = process.communicate(timeout=running.DEADLINE_S)
        assert process.returncode == status, output
        return output

    def output_under_traffic(self, script: str, data: bytes = b"recipe") -> str:
        """Run commands that need packets until they end; return what they print."""
        with self.start(script) as process, self.space.entered():
            assert process.stdout
            shown = running.Collector(process.stdout.buffer)  # type: ignore[attr-defined]
            with socket.socket(type=socket.SOCK_DGRAM) as sock:
                while _is_running(process):
                    sock.sendto(data, ("127.0.0.1", 9))
        return shown.rest().decode()

    def fields(self, file: str, *names: str, where: str = "frame") -> list[list[str]]:
        """Return the values of fields of a file, a list a packet."""
        words = " ".join(f"-e {name}" for name in names)
        lines = self.output(f"tshark -r {file} -Y '{where}' -T fields {words}")
        found = [line.split("\t") for line in lines.splitlines()]
        return [line for line in found if not line[0].startswith("Running as user")]


def _is_running(process: "subprocess.Popen[str]") -> bool:
    try:
        process.wait(0.01)  # between two packets
    except subprocess.TimeoutExpired:
        return True
    return False


@pytest.fixture(scope="module")
def desk(wireshark: Wireshark, tls_host: TlsHost) -> Iterator[Desk]:
    """Capture HTTP, HTTPS and raw IP, with the commands of the first paragraph."""
    folder = tls_host.folder
    (folder / "tccap.lua").write_text(Path(TOP, "wireshark/tccap.lua").read_text())
    (folder / "bin").mkdir()
    for name, script in STAND_INS.items():
        (folder / "bin" / name).write_text(script)
        (folder / "bin" / name).chmod(0o755)
    (folder / "bin" / "tccap").symlink_to(SCRIPT)
    with netns.tunnel_file(tls_host.space, "tun0", netns.IFF_TUN, "10.5.0.1"):
        _capture(wireshark, tls_host, folder / "web.pcapng")
        yield Desk(wireshark, tls_host.space, folder)


def _capture(wireshark: Wireshark, tls_host: TlsHost, file: Path) -> None:
    log = Log(wireshark.temporary)
    logging = (f"logfile:{log.path}", "loglevel:debug")
    options = [word for one in logging for word in ("-o", f"extcap.tccap_any.{one}")]
    command = ("tshark", "-i", "tccap-any", "-w", str(file), *options)
    full = wireshark.command(tls_host.space, *command)
    try:
        with watch(tls_host.space, full, [log], wireshark.environment) as captures:
            log.wait_for(READY)
            with tls_host.serving("python") as port:
                tls_host.get(CLIENTS["curl"], port, "page")
            with (
                tls_host.space.entered(),
                socket.socket(type=socket.SOCK_DGRAM) as sock,
            ):
                sock.sendto(LAST, ("10.5.0.2", 9))
            running.until(lambda: LAST in file.read_bytes(), "the last packet")
            captures.interrupt()
            captures.finish()
    finally:
        log.close()


def test_every_recipe_is_run_here() -> None:
    assert list(RECIPES) == [REMOTE, JAVA, ELSEWHERE, SHARE, PCAP, DEVICE, FULL]


def test_remote_capture(desk: Desk) -> None:
    command, for_sshdump = RECIPES[REMOTE]
    assert for_sshdump in command  # tests/e2e/test_ssh.py runs it
    (desk.folder / "sshd").mkdir()
    with sshd.host(desk.space, "127.0.0.1", desk.folder / "sshd"):
        desk.output_under_traffic(command)
    comments = desk.fields("received.pcapng", "frame.comment")
    assert len(comments) == 3
    assert any(comment.startswith("pid=") for (comment,) in comments)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_java(desk: Desk, tls_host: TlsHost, version: str) -> None:
    """With an agent for tests in the place of the recipe's."""
    capture, program = RECIPES[JAVA]
    [agent] = re.findall(r"-javaagent:(\S+\.jar)", program)
    javaprograms.agent(desk.folder / agent)
    javaprograms.client(desk.folder / "program.jar")
    with desk.start(f"exec {capture}") as capturing:
        assert capturing.stdout
        shown = running.Collector(capturing.stdout.buffer)  # type: ignore[attr-defined]
        shown.wait_for(READY_TO_CAPTURE)
        with tls_host.serving("python as nobody", version=version) as port:
            assert "the body" in desk.output(f"{program} {port} java-{version}")
        capturing.send_signal(signal.SIGTERM)
        assert b" 0 dropped" in shown.rest()
    pages = desk.fields("java.pcapng", "http.request.uri", where="http.request")
    assert pages == [[f"/java-{version}"]]
    codes = desk.fields("java.pcapng", "http.response.code", where="http.response")
    assert codes == [["200"]]


def test_labels_elsewhere(desk: Desk) -> None:
    by_option, *installing, by_plugin = RECIPES[ELSEWHERE]
    lines = desk.output(by_option).splitlines()
    assert any(re.fullmatch(r"\d+\tcurl", line) for line in lines)
    desk.output("\n".join(installing))
    try:
        assert "Client Hello" in desk.output(by_plugin)
    finally:
        desk.output("rm -r .local")


def test_sharing(desk: Desk) -> None:
    assert desk.fields("web.pcapng", "http.request.uri", where="http.request")
    desk.output("tshark -r web.pcapng -Y http -w http.pcapng")
    assert _secrets(desk, "http.pcapng") == _secrets(desk, "web.pcapng") > 0
    (command,) = RECIPES[SHARE]
    desk.output(command)
    assert _secrets(desk, "shared.pcapng") == 0
    assert desk.fields("shared.pcapng", "http.request.uri", where="http") == []
    labels = desk.fields("shared.pcapng", "frame.comment")
    assert labels == desk.fields("web.pcapng", "frame.comment")


def _secrets(desk: Desk, file: str) -> int:
    """Count the Decryption Secrets Blocks of a file."""
    data, count = (desk.folder / file).read_bytes(), 0
    while data:
        kind, length = (int.from_bytes(data[i : i + 4], "little") for i in (0, 4))
        count += kind == 0xA
        data = data[length:]
    return count


def test_one_device(desk: Desk) -> None:
    refused = desk.output("tcpdump -nr web.pcapng", status=1)
    assert "an interface has a type " in refused
    (as_pcap,) = RECIPES[PCAP]
    assert 'can\'t be written as a "pcap" file' in desk.output(as_pcap, status=2)
    for device, mark in (("lo", "IP 127.0.0.1"), ("tun0", "> 10.5.0.2.9: UDP")):
        commands = [line for line in RECIPES[DEVICE] if device in line]
        assert len(commands) == 3
        assert mark in desk.output("\n".join(commands))


def test_one_kind_of_device(desk: Desk) -> None:
    """In the namespace there is a tun device, too."""
    capture, read, *_ = RECIPES[DEVICE]
    desk.output_under_traffic(capture.replace("duration:10", "duration:1"))
    assert "IP 127.0.0.1" in desk.output(read)


def test_pcap(desk: Desk) -> None:
    """Of a file that has one kind of device."""
    (command,) = RECIPES[PCAP]
    desk.output("mv web.pcapng kept.pcapng")
    try:
        desk.output("editcap -T ether kept.pcapng web.pcapng")
        desk.output(command)
        comments = desk.fields("web.pcap", "frame.comment")
        assert {comment for (comment,) in comments} == {""}
    finally:
        desk.output("mv kept.pcapng web.pcapng")


def test_full_disk(desk: Desk) -> None:
    look, _ = RECIPES[FULL]
    mount = "mkdir full; mount -t tmpfs -o size=64k tmpfs full; cd full"
    capture = "tshark -i tccap-lo -c 200 -w web.pcapng"
    output = desk.output_under_traffic(
        f"{mount}; {capture}; {look} || true", bytes(999)
    )
    assert "200 packets captured" in output
    assert "cut short in the middle of a packet" in output


def test_limited_files(desk: Desk) -> None:
    _, command = RECIPES[FULL]
    desk.output_under_traffic(f"{command} -c 3")
    (file,) = {path.name for path in desk.folder.glob("web_*.pcapng")}
    assert len(desk.fields(file, "frame.number")) == 3
