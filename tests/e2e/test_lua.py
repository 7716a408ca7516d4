"""wireshark/tccap.lua in the real tshark: fields from the comments of packets.

The files are made here, so that names can be as awkward as the kernel allows.
"""

import re
from pathlib import Path

import pytest

from support.labelled import Tshark
from tccap.host.proc import Details
from tccap.owners import label, placenames
from tccap.owners.placenames import Described
from tccap.paths import TOP

NUMBERS = ("pid", "tid", "ppid", "uid", "peer_pid")
PLACES = ("container", "container_name", "pod", "namespace", "unit")
OTHERS = ("comm", "name", "user", "exe", "args", "peer_comm")
TEXTS = (*OTHERS, *PLACES, *(f"peer_{key}" for key in PLACES))
CURL = label.basic(4242, b"curl", 1000)
FULL = label.full(
    CURL + b" tid=4243",
    Details(
        1,
        b"/usr/bin/my curl",
        b'curl -H "a: b" http://x/?a=b',
        b"my curl",
        b"ada",
    ),
    2048,
)
PEER = b" peer_pid=80 peer_comm=%s" % label.quoted(b"my server")
PEER_ALONE = PEER[1:]
# Comments that people, or other programs, may write.
FOREIGN = (
    b"",
    b"look at this",
    b"pid=",
    b"pid=12",
    b"pid=12 comm=",
    b"pid=12 comm=curl",
    b"pid=12 is the one that comm=unicates uid=1",
    b"pid=curl comm=curl uid=1",
    b"PID=12 comm=curl uid=1",
    b" pid=12 comm=curl uid=1",
    b"see pid=12 comm=curl uid=1",
    b"pid=12 comm=\xff\xfe uid=1",
    b'pid=12 comm="curl uid=1',
    b"pid=4294967296 comm=curl uid=1",
    b"pid=12 comm=curl uid=99999999999999999999",
    b"peer_pid=80",
    b"peer_pid=80 peer_comm=",
    b"peer_pid=80 peer_comm=x pid=1",
    b"peer_pid=80 uid=1",
    b"peer_comm=curl peer_pid=80",
    b"peer_pid=4294967296 peer_comm=curl",
    b"see peer_pid=80 peer_comm=curl",
)


@pytest.fixture
def tshark(folder: Path) -> Tshark:
    return Tshark(folder)


def test_every_term_is_a_field(tshark: Tshark) -> None:
    web = Described("0123456789ab" * 5, "web 1", "web-0", "shop", "web.service")
    db = Described("ba9876543210" * 5, "db", "db-0", "store", "db.service")
    places = placenames.text(web) + PEER + placenames.text(db, "peer_")
    values = tshark.fields([(FULL + places,)], *NUMBERS, *TEXTS)
    arguments = 'curl -H "a: b" http://x/?a=b'
    assert values == [
        [
            *("4242", "4243", "1", "1000", "80"),
            *("curl", "my curl", "ada", "/usr/bin/my curl", arguments, "my server"),
            *("0123456789ab", *web[1:]),
            *("ba9876543210", *db[1:]),
        ]
    ]


def test_a_program_is_found_by_its_name_and_shown_with_it(tshark: Tshark) -> None:
    """Node calls its main thread MainThread."""
    node = label.full(
        label.basic(7, b"MainThread", 1000),
        Details(1, b"/usr/bin/node", b"node server.js", b"server.js", b"ada"),
        1024,
    )
    packets = [(node,), (CURL,)]
    for where in ('tccap.name == "server.js"', 'tccap.process == "server.js"'):
        assert tshark.fields(packets, "pid", where=where) == [["7"]]
    assert tshark.fields(packets, "label") == [
        ["server.js (7), user ada"],
        ["curl (4242), user 1000"],
    ]


def test_fields_can_be_filtered_by(tshark: Tshark) -> None:
    packets = [(CURL,), (label.basic(7, b"wget", 0) + PEER,), ()]
    for where, pids in {
        'tccap.comm == "curl"': [["4242"]],
        "tccap.uid == 0": [["7"]],
        "tccap.pid > 100": [["4242"]],
        'tccap.peer_comm contains "server"': [["7"]],
        "tccap": [["4242"], ["7"]],
        "!tccap": [[""]],
    }.items():
        assert tshark.fields(packets, "pid", where=where) == pids, where


AWKWARD = {
    b"Web Content": "Web Content",
    b'a"b': 'a"b',
    b"pid=1 comm=x": "pid=1 comm=x",
    b"uid=0": "uid=0",
    "Grüße".encode(): "Grüße",
    "日本語".encode(): "日本語",
    "😀".encode(): "😀",
    b"\xff\xfe": "\ufffd\ufffd",
    b"\xc0\xaf": "\ufffd\ufffd",
    b"\xed\xa0\x80": "\ufffd\ufffd\ufffd",
    b"cut \xe6\x97": "cut \ufffd\ufffd",
    b"": "",
}


def test_awkward_names(tshark: Tshark) -> None:
    packets = [
        (label.basic(1, name, 0) + b" peer_pid=2 peer_comm=" + label.quoted(name),)
        for name in AWKWARD
    ]
    values = tshark.fields(packets, "pid", "comm", "uid", "peer_comm")
    assert values == [["1", shown, "0", shown] for shown in AWKWARD.values()]


@pytest.mark.parametrize(
    ("name", "literal"), [(b"a\\b", r"a\\b"), (b"a\nb\t", r"a\x0ab\x09")]
)
def test_names_that_tshark_escapes(name: bytes, literal: str, tshark: Tshark) -> None:
    comment = (label.basic(1, name, 0),)
    where = f'tccap.comm == "{literal}"'
    assert tshark.fields([comment], "pid", where=where) == [["1"]]
    tree = tshark.read([comment], "-V")
    assert len([x for x in tree.splitlines() if "Process" in x]) == 5


def test_comments_of_others_are_left_alone(tshark: Tshark) -> None:
    shown = tshark.fields([(comment,) for comment in FOREIGN], *NUMBERS, *TEXTS)
    assert shown == [[""] * len(NUMBERS + TEXTS)] * len(FOREIGN)


def test_our_comment_is_found_among_others(tshark: Tshark) -> None:
    packets = [(b"first", CURL, b"last"), (), (b"other",), (CURL,)]
    pids = tshark.fields(packets, "pid")
    assert pids == [["4242"], [""], [""], ["4242"]]


def test_a_note_behind_our_comment_and_unknown_terms_do_no_harm(tshark: Tshark) -> None:
    packets = [(CURL + b" look here",), (CURL + b" new=1 ppid=7",)]
    assert tshark.fields(packets, "pid", "ppid") == [["4242", ""], ["4242", "7"]]


def test_the_tree_has_a_summary(tshark: Tshark) -> None:
    tree = tshark.read([(CURL + PEER,)], "-V").splitlines()
    start = tree.index("[Process: curl (4242), user 1000, to my server (80)]")
    assert [line.strip() for line in tree[start + 1 : start + 10]] == [
        "[Process id: 4242]",
        "[Process name: curl]",
        "[User id: 1000]",
        "[Peer's process id: 80]",
        "[Peer's process name: my server]",
        "[Process name at either end: curl]",
        "[Process name at either end: my server]",
        "[Process id at either end: 4242]",
        "[Process id at either end: 80]",
    ]


def test_one_field_finds_both_directions(tshark: Tshark) -> None:
    answer = label.basic(80, b"my server", 0) + b" peer_pid=4242 peer_comm=curl"
    packets = [(CURL + PEER,), (answer,), (), (label.basic(7, b"wget", 0),)]
    for where in (
        'tccap.process == "curl"',
        'tccap.process == "my server"',
        "tccap.process.pid == 4242",
        "tccap.process.pid == 80",
    ):
        found = tshark.fields(packets, "pid", where=where)
        assert found == [["4242"], ["80"]], where


def test_a_label_may_know_the_receiver_alone(tshark: Tshark) -> None:
    names = ("pid", "comm", "peer_pid", "peer_comm", "process", "process.pid", "label")
    (values,) = tshark.fields([(PEER_ALONE,)], *names, where="tccap")
    assert values == [
        *("", "", "80", "my server"),
        *("my server", "80", "not known, to my server (80)"),
    ]


def test_the_protocols_of_a_packet_are_those_without_the_plugin(
    tshark: Tshark,
) -> None:
    pdml = tshark.read([(CURL + PEER,)], "-T", "pdml")
    # The protocol hierarchy counts the protocols at the top of the tree.
    top = re.findall(r'^  <proto name="([^"]+)"', pdml, re.MULTILINE)
    assert top[:3] == ["geninfo", "pkt_comment", "frame"]
    assert "tccap" not in top
    chain = tshark.read([(CURL,)], "-T", "fields", "-e", "frame.protocols")
    assert "tccap" not in chain


def test_loading_the_plugin_twice_does_no_harm(tshark: Tshark) -> None:
    again = ("-X", f"lua_script:{TOP}/wireshark/tccap.lua")
    shown = tshark.read([(CURL,)], *again, "-T", "fields", "-e", "tccap.pid")
    assert shown == "4242\n"


def test_a_file_without_comments_looks_as_without_the_plugin(
    tshark: Tshark, tmp_path: Path
) -> None:
    with_plugin = tshark.read([()] * 3, "-V")
    (tmp_path / "plugins" / "tccap.lua").unlink()
    assert tshark.read([()] * 3, "-V") == with_plugin
