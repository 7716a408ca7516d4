"""wireshark/profiles/tccap in the real tshark, on packets with labels made here."""

import csv
import re
from pathlib import Path

import pytest

from support.labelled import Tshark
from tccap.owners import label
from tccap.paths import TOP

PROFILE = Path(TOP, "wireshark/profiles/tccap")
CURL = label.basic(42, b"curl", 1000) + b" peer_pid=80 peer_comm=nginx"
NGINX = label.basic(80, b"nginx", 0) + b" peer_pid=42 peer_comm=curl"
WGET = label.basic(7, b"wget", 0)
PACKETS = [(CURL,), (NGINX,), (), (WGET,)]


def lines(name: str) -> list[str]:
    text = (PROFILE / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]


def buttons() -> dict[str, str]:
    """Return the filter of each button, by its caption."""
    return {
        caption: text for _, caption, text, _ in csv.reader(lines("dfilter_buttons"))
    }


def colours() -> dict[str, str]:
    """Return the filter of each colouring rule, by its name."""
    return dict(line.split("@")[1:3] for line in lines("colorfilters"))


@pytest.fixture
def tshark(folder: Path) -> Tshark:
    return Tshark(folder)


def test_the_packet_list_has_columns_for_the_processes(tshark: Tshark) -> None:
    shown = tshark.read(PACKETS, "-C", "tccap").splitlines()
    assert [line.split()[2:5] for line in shown[:2]] == [
        ["curl", "42", "nginx"],
        ["nginx", "80", "curl"],
    ]


@pytest.mark.parametrize(
    ("button", "found"),
    [("This process", ["42", "80"]), ("Its peer", ["42", "80"]), ("No process", [""])],
)
def test_a_button_shows_both_directions(
    button: str, found: list[str], tshark: Tshark
) -> None:
    # Wireshark puts in the values of the selected packet, which tshark does not have.
    selected = {"${tccap.pid}": "42", "${tccap.peer_pid}": "80"}
    where = re.sub(r"\$\{.*\}", lambda m: selected[m[0]], buttons()[button])
    assert tshark.fields(PACKETS, "pid", where=where) == [[pid] for pid in found]


def test_packets_without_a_label_have_a_colour(tshark: Tshark) -> None:
    names = tshark.read(
        PACKETS,
        "-C",
        "tccap",
        "--color",
        "-T",
        "fields",
        "-e",
        "frame.coloring_rule.name",
    ).splitlines()
    assert [name == "No process" for name in names] == [False, False, True, False]


def test_every_colouring_rule_is_a_filter(tshark: Tshark) -> None:
    every = " || ".join(f"({rule})" for rule in colours().values())
    assert tshark.fields(PACKETS, "pid", where=every)


def test_wireshark_switches_to_it_for_packets_with_labels(tshark: Tshark) -> None:
    (setting,) = lines("profile_settings")
    key, where = setting.split(": ")
    assert key == "auto_switch_filter"
    assert len(tshark.fields(PACKETS, "pid", where=where)) == 3
