"""Bad input for everything that parses input: one function per parser.

Each takes a source of randomness and handles one case. It may raise only the
exceptions that the parser documents; any other is a crash. The same seed gives the
same cases.
"""

import argparse
import contextlib
import io
import json
import os
import random
import socket
import string
import sys
from collections.abc import Callable
from typing import Any
from unittest import mock

import hostile
from support import dtlspackets, quicpackets
from tccap.bpf import objects
from tccap.bpf.objects import Object
from tccap.errors import TccapError
from tccap.filter import function, language, libpcap
from tccap.front import front, listing, options, request
from tccap.host import cgrouppath, containernames, netlink, proc, processlist
from tccap.ipc import channel, status, values
from tccap.ipc.plan import Plan
from tccap.owners import (
    addresses,
    label,
    links,
    localroutes,
    namespaces,
    placenames,
    translation,
)
from tccap.stream import abi
from tccap.tls import keylog, mapped, session
from tccap.tls.flows import Flows
from tccap.tls.sites import LABELS, Inspection, Number, Path, Site

Random = random.Random
_WORDS = (
    *("tcp", "udp", "port", "host", "and", "or", "not", "(", ")", "pid", "uid", "comm"),
    *("1", "443", "10.0.0.1", "'a", "b'", '"', "!", "&&", "||", "[", "]", "src", "net"),
    *("4294967296", "curl", "proto", "ip6", "vlan", "-1", "é", "\ud800", "\0"),
)
_EDGES = (0, 1, -1, 15, 16, 255, 65535, 1 << 31, (1 << 32) - 1, 1 << 63, 10**30)


def text(rng: Random, len_max: int = 24) -> str:
    """Return a text: printable, unusual, or with a lone surrogate."""
    pool = rng.choice((string.printable, "{}=,\n\0\"'\\", "aé\ud800\U0001f600\x7f"))
    return "".join(rng.choices(pool, k=rng.randrange(len_max)))


def raw(rng: Random, len_max: int = 200) -> bytes:
    """Return bytes: random, or few values many times."""
    if rng.random() < 0.5:
        return rng.randbytes(rng.randrange(len_max))
    pool = bytes([0, 255, *b"\n\t :()-1"])
    return bytes(rng.choices(pool, k=rng.randrange(len_max)))


def value(rng: Random, depth: int = 0) -> Any:
    """Return any value that JSON can express."""
    kind = rng.randrange(8 if depth < 3 else 6)
    if kind == 6:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 7:
        return {text(rng): value(rng, depth + 1) for _ in range(rng.randrange(3))}
    plain = (None, True, rng.choice(_EDGES), rng.random() * 1e6, text(rng), "any")
    return plain[kind]


def mutated(rng: Random, data: bytes) -> bytes:
    """Return data with some bytes changed, cut, doubled or inserted."""
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(changed) + 1)
        end = at + rng.randrange(8)
        changed[at:end] = rng.choice((b"", raw(rng, 6), changed[at:end] * 2, b"\\"))
    return bytes(changed)


# --- the readers ------------------------------------------------------------------


def plan_bytes(rng: Random) -> None:
    """A Plan's text, damaged."""
    good = hostile.PLANS[rng.choice(_SHORT_PLANS)]
    with contextlib.suppress(TccapError):
        Plan.from_json(mutated(rng, good).decode(errors="replace"))


def plan_values(rng: Random) -> None:
    """A Plan with any values in its fields; one that is accepted is sound."""
    fields = {**hostile.GOOD, rng.choice(list(hostile.GOOD)): value(rng)}
    with contextlib.suppress(TccapError):
        taken = Plan.from_json(json.dumps(fields))
        assert Plan.from_json(taken.to_json()) == taken
        taken.device.encode()
        assert all(len(f.encode()) <= values.FILTER_LEN_MAX for f in taken.filters)


def command_line(rng: Random) -> None:
    """An extcap call with any arguments: an answer, or one sentence."""
    known = rng.choices(_FLAGS, k=rng.randrange(6))
    argv = [rng.choice((flag, f"{flag}={text(rng)}", text(rng))) for flag in known]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        outcome = front.main(argv)
    assert (outcome in (1, 2)) == (err.getvalue() != "")
    assert "Traceback" not in err.getvalue()


def option_values(rng: Random) -> None:
    """Options of a capture: they become a Plan, or a sentence."""
    chosen: dict[str, str | None] = dict.fromkeys(options.Options._fields)
    for _ in range(rng.randrange(1, 4)):
        name = rng.choice(list(chosen))
        chosen[name] = rng.choice((text(rng), str(rng.choice(_EDGES)), "true"))
    with contextlib.suppress(TccapError):
        values = options.from_arguments(argparse.Namespace(**chosen))
        made = request.plan(f"tccap-{text(rng, 18)}", text(rng), values)
        assert Plan.from_json(made.to_json()) == made


def proc_contents(rng: Random) -> None:
    """Files of /proc with anything in them."""

    def read(_pid: int, _name: str) -> bytes:
        return _proc_file(rng)

    with mock.patch.object(proc, "_read", read):
        proc.euid(1)
        proc.credentials(1)
        proc.comm(1)
        proc.start_ticks(1)
        proc.details(1, rng.randrange(1 << 40))
    assert listing.is_listable(processlist.printable(os.fsdecode(raw(rng))))


def _proc_file(rng: Random) -> bytes:
    good = b"7 (a b) S 1 7 7 0 -1 4194560 1 0 0 0 1 1 0 0 20 0 1 0 99 1 1"
    uids = b"Name:\ta\nUid:\t1\t2\t3\t4\nGid:\t0"
    return rng.choice((raw(rng), mutated(rng, good), mutated(rng, uids), b""))


def netlink_answers(rng: Random) -> None:
    """Answers of netlink: addresses, or an OSError."""
    message = bytes.fromhex("180000001400020000000000000000000218800801000000")
    local = bytes.fromhex("080002000a090001")
    answers = [mutated(rng, message + local), mutated(rng, message), raw(rng), b""]
    done = bytes.fromhex("14000000030002000000000000000000") + bytes(4)
    fake = mock.Mock(spec=netlink.Connection, answers_left=1000)
    fake.recv.side_effect = [rng.choice(answers) for _ in range(3)] + [done] * 9
    with contextlib.suppress(OSError):
        for found in addresses._addresses(fake, rng.choice((-1, 3))):
            assert len(found.network.address) in (4, 16)
    fake.recv.side_effect = [rng.choice(answers)] + [done] * 9
    with contextlib.suppress(OSError):
        list(localroutes._routes(fake, socket.AF_INET, 0))
    fake.recv.side_effect = [rng.choice(answers)] + [done] * 9
    with contextlib.suppress(OSError):
        namespaces.id_of(fake, 3)
    fake.recv.side_effect = [rng.choice(answers)] + [done] * 9
    with contextlib.suppress(OSError):
        list(links.read(fake))
    with contextlib.suppress(OSError):
        translation._chain(5, {4: raw(rng)})


def kernel_messages(rng: Random) -> None:
    """A message in the ring that tccap did not write."""
    size = abi._PROCESS_MESSAGE.size
    with contextlib.suppress(TccapError):
        seen = abi.ProcessMessage.parse(rng.randbytes(rng.choice((size, size, 3))))
        assert b"\0" not in seen.comm


def process_names(rng: Random) -> None:
    """Names, paths and arguments of processes, in a label."""
    comm = raw(rng, 16).partition(b"\0")[0]
    short = label.basic(rng.randrange(1 << 22), comm, rng.randrange(1 << 32))
    details = proc.Details(
        rng.randrange(1 << 22), raw(rng), raw(rng, 2000), raw(rng), raw(rng)
    )
    whole = label.full(short, details, abi.LABEL_LEN_FULL)
    assert len(whole) <= abi.LABEL_LEN_FULL
    assert whole.isascii()
    assert whole.decode().isprintable()
    _place(rng)


def _place(rng: Random) -> None:
    """The path of a cgroup, and a runtime's file about a container."""
    path = b"/kubepods/pod%s/cri-containerd-%s.scope" % (b"0f" * 16, b"0f" * 32)
    place = cgrouppath.parse(os.fsdecode(rng.choice((raw(rng), mutated(rng, path)))))
    file = b'{"Name":"/a","names":["a"],"metadata":"{}","Config":{"Labels":{}}}'
    found = containernames._table(containernames._loaded(mutated(rng, file)))
    for names_in in (
        containernames._docker_names,
        containernames._stored_names,
        containernames._annotated,
    ):
        text = placenames.text(placenames.described(place, names_in(found)), "peer_")
        assert len(text) < abi.CGROUP_TEXT_LEN
        assert text.isascii()


def filter_texts(rng: Random) -> None:
    """Capture filters: parsed, or refused with a sentence."""
    words = " ".join(rng.choices(_WORDS, k=rng.randrange(1, 24)))
    with contextlib.suppress(TccapError):
        parsed = language.parse(rng.choice((words, words, text(rng, 60))))
        language.packet_only(parsed)
        function.function(parsed, lambda _: None, lambda _: None)


def status_lines(rng: Random) -> None:
    """Lines of an engine, as the front reads them."""
    line = rng.choice((json.dumps(value(rng)), text(rng, 80)))
    assert isinstance(status.parse(line), status.Event | status.Output)


def key_log_lines(rng: Random) -> None:
    """Pieces of a key log: a line is a valid secret, or ignored."""
    name = rng.choice((*LABELS, text(rng))).encode(errors="surrogatepass")
    line = b"%s %s %s\n" % (name, rng.randbytes(32).hex().encode(), _secret(rng))
    pieces = [rng.choice((line, line, mutated(rng, line), raw(rng))) for _ in "12"]
    for secret in filter(None, map(keylog.parse_line, b"".join(pieces).split(b"\n"))):
        assert secret.label in LABELS
        assert len(secret.client_random) == 32
        assert len(secret.secret) in (32, 48)
    reader = _session()
    for piece in pieces:
        assert all(_is_dsb(block) for block in reader.read_text(piece))
    assert len(reader._rest_of_text) <= session.KEYLOG_LINE_MAX


def _secret(rng: Random) -> bytes:
    return rng.randbytes(rng.choice((32, 48, 48, 31))).hex().encode()


def _session() -> session.Tls:
    return session.Tls(Plan(**hostile.GOOD | {"keylog": True}), mock.Mock())


def _is_dsb(block: bytes | memoryview) -> bool:
    return bytes(block[:4]) == bytes.fromhex("0a000000")


def tls_messages(rng: Random) -> None:
    """Messages about TLS in the ring, in any order; packets come out again."""
    asked: list[channel.Message] = []
    plan = Plan(**hostile.GOOD | {"keylog": rng.random() < 0.5})
    taker = session.Tls(plan, mock.Mock(), Flows(), None, asked.append)
    sent = came = 0
    for _ in range(rng.randrange(1, 8)):
        kind = rng.choice([*abi.MessageKind][1:])
        sizes = {1: abi._HELLO_MESSAGE.size, 2: abi._SECRET_MESSAGE.size}
        size = sizes.get(kind, 80) - 1
        if rng.random() < 0.1 and kind in sizes:
            size = rng.randrange(9, 200)
        few = bytes([rng.randrange(3)])
        message = rng.choice((rng.randbytes(size), few * size)) + bytes([kind])
        if kind == abi.MessageKind.QUIC and rng.random() < 0.8:
            message = _quic_message(rng)
        try:
            out = taker.answer(message)
        except TccapError:
            continue
        out += [
            block
            for _ in range(rng.randrange(3))
            for block in _heard(rng, taker, asked)
        ]
        sent += abi.has_packet(message)
        came += sum(not _is_dsb(block) for block in out)
    came += sum(not _is_dsb(block) for block in taker.finish())
    assert came == sent


_TCP_FLOW = bytes(38) + (6).to_bytes(2, sys.byteorder) + bytes(8)


def first_packets(rng: Random) -> None:
    """What a flow of UDP or TCP begins with: whole, damaged, and with any frames."""
    followed = Flows()
    flow = rng.choice((b"flow", _TCP_FLOW))
    pieces = (_quic_packet, _dtls_record) if flow == b"flow" else (_tls_start,)
    for _ in range(rng.randrange(1, 5)):
        piece = rng.choice(pieces)
        datagram = b"".join(piece(rng) for _ in range(rng.randrange(1, 4)))
        seen = followed.see(flow, datagram, from_client=rng.random() < 0.7)
        assert seen.client_random is None or len(seen.client_random) == 32
        assert seen.client_random or seen.kind is None
    assert len(followed._flows) <= 1


def _quic_packet(rng: Random) -> bytes:
    kind, version = rng.randrange(5), rng.choice((quicpackets.V1, quicpackets.V2))
    if kind == 0:
        return rng.choice((b"", b"\xc0\0\0\0\1")) + raw(rng)
    if kind == 1:
        return quicpackets.long_packet(rng.randrange(4), raw(rng), version=version)
    at = rng.choice((0, 0, 10, *_EDGES[4:8]))
    piece = quicpackets.client_hello(b"r" * 32)[at:]
    frames = [quicpackets.crypto(at, piece), raw(rng, 40), mutated(rng, piece)]
    payload = b"".join(rng.sample(frames, rng.randrange(4)))
    origin = rng.choice((b"origin78", b"another8", b""))
    side = rng.choice((b"client in", b"client in", b"server in"))
    packet = quicpackets.initial(payload, origin=origin, version=version, side=side)
    return mutated(rng, packet) if rng.random() < 0.3 else packet


def _tls_start(rng: Random) -> bytes:
    hello = quicpackets.client_hello(b"r" * 32)
    at = rng.choice((0, 20, 60))
    records = [
        b"\x16\x03\x01" + len(each).to_bytes(2, "big") + each
        for each in (hello, hello[:at], hello[at:], b"\2" + hello[1:], raw(rng, 40))
    ]
    headers = [
        b"PROXY TCP4 1.1.1.1 1.1.1.2 1 2\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\1.",
    ]
    packet = b"".join(rng.sample([*headers, *records], rng.randrange(4)))
    return mutated(rng, packet) if rng.random() < 0.3 else packet


def _dtls_record(rng: Random) -> bytes:
    hello = dtlspackets.client_hello(b"r" * 32)
    alert = dtlspackets.record(21, b"\x02\x28", epoch=rng.randrange(2))
    other = dtlspackets.record(rng.choice((20, 22, 23, 26)), raw(rng, 40))
    packet = rng.choice((hello, hello, dtlspackets.server_hello(), alert, other))
    return mutated(rng, packet) if rng.random() < 0.3 else packet


def _quic_message(rng: Random) -> bytes:
    """Return a packet of one of two flows, as the kernel sends it."""
    datagram = rng.choice((_quic_packet, _dtls_record, _tls_start))(rng)
    block = bytes(20) + len(datagram).to_bytes(4, "little") + bytes(4) + datagram
    number = rng.randrange(2)
    flow = rng.choice((bytes([number]) * 40, _TCP_FLOW[:40]))
    pids = (rng.randrange(3), rng.randrange(3))
    ends = rng.random() < 0.1, rng.random() < 0.7
    tail = abi._HELD_MESSAGE.pack(
        flow, number, *pids, 28, 0, *ends, abi.MessageKind.QUIC
    )
    return block + tail


def _heard(
    rng: Random, taker: session.Tls, asked: list[channel.Message]
) -> list[bytes | memoryview]:
    """Return what an answer about a process lets pass, whether it was asked or not."""
    question = asked.pop() if asked else channel.MayTrace(rng.randrange(9))
    assert isinstance(question, channel.MayTrace | channel.GotNoSecrets)
    answer = question.pid, rng.random() < 0.3, rng.randrange(3)
    return taker.hear(channel.Verdict(*answer))


def finder_answers(rng: Random) -> None:
    """Answers of a finder that is in somebody else's hands."""
    good = json.loads(_INSPECTION.to_json())
    place = rng.choice((good, good["sites"][0], good["sites"][0]["secret_len"]))
    place[rng.choice(list(place))] = value(rng)
    damaged = mutated(rng, _INSPECTION.to_json().encode())
    answer = rng.choice((json.dumps(good).encode(), damaged, raw(rng)))
    with contextlib.suppress(TccapError):
        taken = Inspection.from_json(answer)
        assert Inspection.from_json(taken.to_json()) == taken
        assert bool(taken.refusal) != bool(taken.sites or taken.handle_at is not None)


_INSPECTION = Inspection(
    "ab12",
    "OpenSSL",
    "3.0",
    (
        Site(
            *(4096, 4096, "line", Path("rdi", (0,)), Number(Path("rsi", ()), 4)),
            *(Path("rdx", (8, 16)), Path("rcx", (0,)), Number(Path("r8", (0,)), 8)),
        ),
    ),
    "log function",
    "",
    8,
)


def process_maps(rng: Random) -> None:
    """/proc/PID/maps with any paths in it."""
    good = b"7f00a000-7f00b000 r-xp 00000000 08:01 77 /usr/lib/a b.so (deleted)\n"
    lines = b"".join(rng.choice((good, mutated(rng, good), raw(rng))) for _ in "123")
    with mock.patch.object(mapped, "_maps", return_value=os.fsdecode(lines)):
        for found in mapped.files(1):
            assert found.identity.path.startswith("/")
            with contextlib.suppress(ValueError):
                mapped._unpadded(found.addresses)


def compiled_programs(rng: Random) -> None:
    """What a compiler in somebody else's hands may answer."""
    spec = objects.MapSpec(
        "ring", 27, 0, 0, 4096, 0, 0, 0, '"int"', '["s",[],"struct"]'
    )
    whole = Object((spec,), {"tccap_ingress": rng.randbytes(24)}, b"").to_bytes()
    with contextlib.suppress(TccapError):
        taken = Object.from_bytes(rng.choice((mutated(rng, whole), raw(rng))))
        assert Object.from_bytes(taken.to_bytes()) == taken
    with contextlib.suppress(TccapError):
        objects.ctype(value(rng))


def libpcap_answers(rng: Random) -> None:
    """What a compiler of filters in somebody else's hands may answer."""
    good = b"P" + (16).to_bytes(4, "little") + rng.randbytes(16)
    for _kind, payload in libpcap._split(rng.choice((mutated(rng, good), raw(rng)))):
        assert len(payload) <= 300


def carrier_messages(rng: Random) -> None:
    """Messages of a carrier that is in somebody else's hands."""
    sent = rng.choice(
        (
            *(channel.Seen(5, 7, 0, 1, 9, b"name"), channel.MayTrace(7)),
            *(channel.GotNoSecrets(7, 300), channel.Stopping()),
        )
    )
    data = rng.choice((raw(rng), mutated(rng, channel.encoded(sent))))
    with contextlib.suppress(TccapError):
        message = channel.decoded(data)
        again = channel.decoded(channel.encoded(message))
        assert again == message or isinstance(message, channel.Searched)  # NaN


Suite = Callable[[Random], None]
# Each with its share of all cases, in percent.
SUITES: dict[str, tuple[Suite, int]] = {
    "Plan: damaged texts": (plan_bytes, 12),
    "Plan: any values": (plan_values, 10),
    "command line": (command_line, 3),
    "options": (option_values, 6),
    "/proc": (proc_contents, 7),
    "/proc/PID/maps": (process_maps, 5),
    "netlink answers": (netlink_answers, 7),
    "ring: processes": (kernel_messages, 6),
    "ring: TLS": (tls_messages, 5),
    "first packets of a flow": (first_packets, 3),
    "process names": (process_names, 4),
    "capture filters, process words": (filter_texts, 7),
    "status lines": (status_lines, 6),
    "key-log lines": (key_log_lines, 6),
    "carrier's messages": (carrier_messages, 2),
    "finder's answers": (finder_answers, 7),
    "compiler's answers": (compiled_programs, 2),
    "libpcap's answers": (libpcap_answers, 2),
}
_SHORT_PLANS = [name for name, data in hostile.PLANS.items() if len(data) < 1000]
_FLAGS = [
    *front._FLAGS[:3],
    *front._VALUES[:3],
    *(f"--{option.name}" for option in options.OPTIONS),
]


def cases(total: int, share: int) -> int:
    """Return how many cases a suite has of ``total``."""
    return max(1, total * share // 100)


def seed() -> int:
    """Return the seed: 1, or TCCAP_FUZZ_SEED."""
    return int(os.environ.get("TCCAP_FUZZ_SEED", "1"))
