"""Malicious and broken Plans, by what is wrong with them.

Each is the whole text that an engine gets on its stdin.
"""

import json
from dataclasses import asdict
from typing import Any

from tccap.front import options, request

GOOD: dict[str, Any] = asdict(request.plan("tccap-lo", "", options.Options()))


def _with(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode() + b"\n"


def _without(name: str) -> bytes:
    fewer = {key: value for key, value in GOOD.items() if key != name}
    return json.dumps(fewer).encode() + b"\n"


def _raw(field: str, text: str) -> bytes:
    """Return a Plan with a value that json.dumps would not write."""
    marked = json.dumps({**GOOD, field: "MARK"})
    return marked.replace('"MARK"', text).encode("utf-8", "surrogatepass") + b"\n"


_DEEP = "[" * 100_000 + "]" * 100_000

PLANS: dict[str, bytes] = {
    # The text itself.
    "no end": b"{}",
    "no JSON": b"plan\n",
    "binary": bytes(range(256)).replace(b"\n", b"") + b"\n",
    "zero bytes": bytes(1000) + b"\n",
    "empty line": b"\n",
    "endless": b" " * (3 << 20),
    "endless line": b'"' + b"x" * (3 << 20) + b'"\n',
    "a list": b"[]\n",
    "a text": b'"plan"\n',
    "null": b"null\n",
    "true": b"true\n",
    "a number": b"1e999\n",
    "a number too long": b"1" * 100_000 + b"\n",
    "deep": b"[" * 500_000 + b"\n",
    "deep objects": b'{"a":' * 100_000 + b"\n",
    "UTF-16": json.dumps(GOOD).encode("utf-16") + b"\n",
    "two plans": _with()[:-1] * 2 + b"\n",
    "python": b"__import__('os').system('id')\n",
    # Its fields.
    "no fields": b"{}\n",
    "a field missing": _without("device"),
    "a field more": _with(uid=0),
    "a caller": _with(caller=0),
    "a log file": _with(log_file="/etc/cron.d/tccap"),
    "a program": _with(program="int tccap_ingress() {}"),
    "class": _with(__class__="Plan"),
    "other case": json.dumps({k.upper(): v for k, v in GOOD.items()}).encode() + b"\n",
    # The device.
    "no device": _with(device=""),
    "device null": _with(device=None),
    "device too long": _with(device="x" * 16),
    "device huge": _with(device="x" * 500_000),
    "device path": _with(device="../../etc"),
    "device slash": _with(device="a/b"),
    "device dot": _with(device="."),
    "device dots": _with(device=".."),
    "device zero byte": _with(device="lo\0x"),
    "device newline": _with(device="lo\n"),
    "device space": _with(device="lo lo"),
    "device colon": _with(device="lo:1"),
    "device surrogate": _raw("device", '"\\ud800"'),
    "device wide": _with(device="é" * 8),
    "device list": _with(device=["lo"]),
    "device number": _with(device=1),
    "device absent": _with(device="nosuchdevice"),
    "device format": _with(device="%s%n{0}"),
    # Numbers.
    "snaplen zero": _with(snaplen=0),
    "snaplen negative": _with(snaplen=-1),
    "snaplen large": _with(snaplen=1 << 40),
    "snaplen text": _with(snaplen="96; DROP"),
    "snaplen float": _with(snaplen=96.0),
    "snaplen true": _with(snaplen=True),
    "snaplen NaN": _raw("snaplen", "NaN"),
    "snaplen infinite": _raw("snaplen", "Infinity"),
    "snaplen define": _with(snaplen="1 -include /etc/shadow"),
    "ring zero": _with(ring_mib=0),
    "ring huge": _with(ring_mib=1 << 30),
    "ring null": _with(ring_mib=None),
    "ring list": _with(ring_mib=[64]),
    "sockets zero": _with(sockets=0),
    "sockets huge": _with(sockets=1 << 31),
    "sockets wrap": _with(sockets=(1 << 32) + 1024),
    "processes negative": _with(processes=-1024),
    "processes huge": _with(processes=1 << 63),
    # Words.
    "direction": _with(direction="inward"),
    "direction object": _with(direction={"in": "out"}),
    "label": _with(label="everything"),
    "label number": _with(label=2),
    "children text": _with(children="false"),
    "children number": _with(children=1),
    "inside number": _with(inside=1),
    "inside of one device": _with(device="eth0", inside=True),
    # Lists.
    "pids object": _with(pids={"1": 1}),
    "pids zero": _with(pids=[0]),
    "pids huge": _with(pids=[1 << 22]),
    "pids nested": _with(pids=[[1]]),
    "pids many": _with(pids=[*range(1, 3000)]),
    "pids deep": _raw("pids", _DEEP),
    "uids wrap": _with(uids=[(1 << 32) - 1]),
    "uids text": _with(uids=["root"]),
    "comms long": _with(comms=["x" * 16]),
    "comms zero byte": _with(comms=["a\0b"]),
    "comms many": _with(comms=["x"] * 2000),
    "comms number": _with(comms=[1]),
    "comms surrogate": _raw("comms", '["\\ud800"]'),
    "containers long": _with(containers=["x" * 256]),
    "containers zero byte": _with(containers=["a\0b"]),
    "pods many": _with(pods=["x"] * 2000),
    "namespaces number": _with(namespaces=[1]),
    "units surrogate": _raw("units", '["\\ud800"]'),
    # Filters.
    "filters text": _with(filters="tcp"),
    "filters many": _with(filters=["tcp"] * 3),
    "filters empty": _with(filters=[""]),
    "filter null": _with(filters=[None]),
    "filter bytecode": _with(filters=[[6, 0, 0, 65535]]),
    "filter long": _with(filters=["tcp or " * 100_000 + "tcp"]),
    "filter zero byte": _with(filters=["tcp\0udp"]),
    "filter surrogate": _raw("filters", '["comm \\ud800"]'),
    "filter nonsense": _with(filters=["what is this"]),
    "filter deep": _with(filters=["(" * 15_000 + "tcp" + ")" * 15_000]),
    "filter deep process": _with(filters=["(" * 9_000 + "pid 1" + ")" * 9_000]),
    "filter not": _with(filters=["not " * 7_000 + "and pid 1"]),
    "filter C": _with(filters=['tcp"); int x; //']),
    "filter C words": _with(filters=["pid 1); bpf_override_return(ctx"]),
    "filter pid text": _with(filters=["pid 0x1"]),
    "filter pid wraps": _with(filters=["pid 4294967297"]),
    "filter quote": _with(filters=["comm 'curl"]),
    "filter include": _with(filters=['#include "/etc/shadow"']),
}
