"""The capture filter as people give it: tshark -f, and the field among the options."""

import socket
import subprocess
from pathlib import Path

import pytest

from support import netns, stream
from support.wireshark import Wireshark, tshark
from tccap.paths import SCRIPT

WANTED_PORT, OTHER_PORT = 9, 10
IF_FILTER = 11


def _send(pair: netns.Pair, count: int) -> None:
    with pair.near.entered(), socket.socket(type=socket.SOCK_DGRAM) as sock:
        for number in range(count):
            for port in (WANTED_PORT, OTHER_PORT):
                sock.sendto(bytes(10 * (number + 1)), (pair.far_address, port))


@pytest.fixture
def file(folder: Path) -> Path:
    path = folder / "file.pcapng"
    path.touch()
    path.chmod(0o666)
    return path


def _captured(
    wireshark: Wireshark, pair: netns.Pair, file: Path, *options: str
) -> stream.Stream:
    with tshark(wireshark, pair.near, "-w", str(file), *options) as captures:
        _send(pair, 8)
        captures.finish()
        assert captures.left() == []
    return stream.parse(file.read_bytes())


def test_only_what_matches_is_captured(
    wireshark: Wireshark, pair: netns.Pair, file: Path
) -> None:
    wanted = f"udp dst port {WANTED_PORT}"
    captured = _captured(wireshark, pair, file, "-f", wanted, "-c", "8")
    ports = [int.from_bytes(f.data[36:38], "big") for f in captured.frames]
    assert ports == [WANTED_PORT] * 8
    # if_filter, pcapng section 4.2: 0 means that a libpcap string follows.
    filters = [i.options[IF_FILTER] for i in captured.interfaces]
    assert filters == [b"\0" + wanted.encode()]


def test_box_and_option_must_both_match(
    wireshark: Wireshark, pair: netns.Pair, file: Path
) -> None:
    option = ("-o", "extcap.tccap_veth0.filter:greater 102")  # 60 bytes of payload
    box = ("-f", f"udp dst port {WANTED_PORT}")
    captured = _captured(wireshark, pair, file, *option, *box, "-c", "3")
    assert [len(f.data) for f in captured.frames] == [102, 112, 122]


MISTAKES = {
    "syntax": ("tcp prot 80", "syntax error"),
    "utf-8": ("tcp port \udcff", "The capture filter is not valid UTF-8."),
    "long": ("ip or " * 17_000 + "ip", "bytes long; 32000 are possible."),
    "nested": ("(" * 15_000 + "ip" + ")" * 15_000, ""),
    "nothing": ("tcp and udp", "expression rejects all packets"),
    "words": ("pid many", "pid"),
    "name": ("host name.invalid", "name.invalid"),
}


def _in_the_box(pair: netns.Pair, text: str) -> str:
    """Return the message that Wireshark gets while somebody types."""
    box = ("--extcap-capture-filter", text, "--extcap-interface", "tccap-veth0")
    asked = subprocess.run(
        pair.near.command(SCRIPT, *box),
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert asked.stderr == ""
    (reported,) = asked.stdout.splitlines()
    return reported


@pytest.mark.parametrize("kind", MISTAKES)
def test_box_and_start_report_the_same_message(
    pair: netns.Pair, folder: Path, kind: str
) -> None:
    text, message = MISTAKES[kind]
    reported = _in_the_box(pair, text)
    assert message in reported
    (folder / "file").touch()
    start = ("--capture", "--extcap-interface", "tccap-veth0")
    done = subprocess.run(
        pair.near.command(
            *(SCRIPT, *start, "--fifo", str(folder / "file")),
            *("--extcap-capture-filter", text),
        ),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr.count(reported)) == (1, 1)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", ["syntax", "utf-8"])
def test_tshark_shows_the_message(
    wireshark: Wireshark, pair: netns.Pair, kind: str
) -> None:
    text, _ = MISTAKES[kind]
    start = ("tshark", "-i", "tccap-veth0", "-f", text)
    done = wireshark.run(pair.near, *start, check=False)
    assert done.stderr.count(_in_the_box(pair, text)) == 1
    assert "Traceback" not in done.stderr
