import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tccap.errors import TccapError
from tccap.front import options, request
from tccap.ipc.plan import Plan

GOOD: dict[str, Any] = {
    "device": "eth0",
    "filters": ["tcp port 443"],
    "direction": "both",
    "link_types": "all",
    "snaplen": 262144,
    "ring_mib": 64,
    "label": "short",
    "pids": [1, 4194303],
    "uids": [0, 1000],
    "comms": ["curl"],
    "containers": ["web-*"],
    "pods": ["web-0"],
    "namespaces": ["shop"],
    "units": ["é" * 127],
    "children": False,
    "inside": False,
    "sockets": 65536,
    "processes": 16384,
    "tls": "own",
    "tls_libraries": ["/opt/program"],
    "tls_wait_ms": 300,
    "keylog": False,
}
BAD = [
    ("device", ""),
    ("device", "a-name-too-long-"),
    ("device", None),
    ("device", ["eth0"]),
    ("direction", "sideways"),
    ("direction", ["in"]),
    ("direction", None),
    ("link_types", "other"),
    ("snaplen", 0),
    ("snaplen", 262145),
    ("snaplen", "100"),
    ("snaplen", 1.0),
    ("snaplen", True),
    ("ring_mib", 0),
    ("ring_mib", 1025),
    ("ring_mib", -1),
    ("ring_mib", None),
    ("filters", "tcp"),
    ("filters", [1]),
    ("label", "long"),
    ("label", None),
    ("pids", [0]),
    ("pids", [4194304]),
    ("pids", ["1"]),
    ("pids", [True]),
    ("pids", 1),
    ("pids", list(range(1, 1026))),
    ("uids", [-1]),
    ("uids", [1 << 32]),
    ("containers", "web"),
    ("containers", [""]),
    ("pods", ["x" * 256]),
    ("namespaces", [7]),
    ("units", ["a\0b"]),
    ("units", ["x"] * 2000),
    ("comms", [""]),
    ("comms", ["x" * 16]),
    ("comms", [7]),
    ("comms", ["\ud800"]),
    ("children", 1),
    ("children", "true"),
    ("inside", 1),
    ("inside", True),
    ("sockets", 0),
    ("processes", 1 << 23),
    ("tls", "every"),
    ("tls", None),
    ("tls_libraries", ["relative"]),
    ("tls_libraries", ["/nul\0"]),
    ("tls_libraries", "/not/a/list"),
    ("tls_wait_ms", -1),
    ("tls_wait_ms", 10001),
    ("tls_wait_ms", 0.3),
    ("keylog", 1),
]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
PLANS = st.builds(
    Plan,
    device=st.text("abc.}é", min_size=3, max_size=7),
    direction=st.sampled_from(["both", "in", "out"]),
    link_types=st.sampled_from(["all", "ethernet", "raw-ip"]),
    snaplen=st.integers(1, 262144),
    ring_mib=st.integers(1, 1024),
    filters=st.lists(st.text('abc "é', min_size=1), max_size=2).map(tuple),
    label=st.sampled_from(["off", "short", "full"]),
    pids=st.lists(st.integers(1, 4194303)).map(tuple),
    uids=st.lists(st.integers(0, (1 << 32) - 2)).map(tuple),
    comms=st.lists(st.text('abc "é', min_size=1, max_size=7)).map(tuple),
    containers=st.lists(st.text('abc "é*', min_size=1, max_size=7)).map(tuple),
    pods=st.lists(st.just("web-0")).map(tuple),
    namespaces=st.lists(st.just("shop")).map(tuple),
    units=st.lists(st.just("web")).map(tuple),
    children=st.booleans(),
    inside=st.just(value=False),
    sockets=st.integers(1, 1 << 20),
    processes=st.integers(1, 1 << 20),
    tls=st.sampled_from(["off", "own", "all"]),
    tls_libraries=st.lists(st.just("/lib/é, b")).map(tuple),
    tls_wait_ms=st.integers(0, 10000),
    keylog=st.booleans(),
)


@given(PLANS)
def test_round_trip_on_one_line(the_plan: Plan) -> None:
    text = the_plan.to_json()
    assert "\n" not in text
    assert Plan.from_json(text) == the_plan


def test_the_good_one_is_good() -> None:
    read = Plan.from_json(json.dumps(GOOD))
    assert json.loads(read.to_json()) == GOOD


@pytest.mark.parametrize(("field", "value"), BAD)
def test_each_bad_field_is_refused(field: str, value: object) -> None:
    with pytest.raises(TccapError, match=f"The plan's {field} is not acceptable"):
        Plan.from_json(json.dumps({**GOOD, field: value}))


@pytest.mark.parametrize("field", GOOD)
def test_a_missing_field_is_refused(field: str) -> None:
    fewer = {name: value for name, value in GOOD.items() if name != field}
    with pytest.raises(TccapError, match="exactly the known fields"):
        Plan.from_json(json.dumps(fewer))


def test_a_field_too_many_is_refused() -> None:
    with pytest.raises(TccapError, match="exactly the known fields"):
        Plan.from_json(json.dumps({**GOOD, "command": "rm"}))


@given(JSON_VALUES)
def test_any_json_is_a_plan_or_refused(value: object) -> None:
    with pytest.raises(TccapError):
        Plan.from_json(json.dumps(value))


@given(st.sampled_from(list(GOOD)), JSON_VALUES)
def test_any_value_of_a_field_is_kept_or_refused(field: str, value: object) -> None:
    try:
        the_plan = Plan.from_json(json.dumps({**GOOD, field: value}))
    except TccapError:
        return
    kept = getattr(the_plan, field)
    assert kept == (tuple(value) if isinstance(value, list) else value)
    assert isinstance(kept, tuple if isinstance(value, list) else type(GOOD[field]))


@given(st.text())
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(TccapError):
        Plan.from_json(text)


def test_deep_json_is_refused() -> None:
    with pytest.raises(TccapError, match="The plan is not JSON"):
        Plan.from_json("[" * 500_000)


def test_made_from_the_options() -> None:
    chosen = options.Options()._replace(
        direction="in", snaplen=96, ring_size=8, filter="udp", children=True
    )
    chosen = chosen._replace(pid="7, 8", process="9", uid="root,1", comm="a b,c")
    made = request.plan("tccap-eth0", "tcp", chosen)
    assert (made.device, made.direction) == ("eth0", "in")
    assert (made.snaplen, made.ring_mib) == (96, 8)
    assert made.filters == ("tcp", "udp")
    assert (made.pids, made.uids, made.comms) == ((7, 8, 9), (0, 1), ("a b", "c"))
    assert made.places == {}
    assert made.children
    assert made.filters_processes
    assert not made.is_any


def test_made_from_containers_pods_and_units() -> None:
    chosen = options.Options()._replace(
        container="web-*, db", place="container=0123456789ab", pod="web-0", unit="ssh"
    )
    made = request.plan("tccap-any", "", chosen)
    assert made.places == {
        "container": ("0123456789ab", "db", "web-*"),
        "pod": ("web-0",),
        "unit": ("ssh",),
    }
    assert made.filters_processes
    chosen = options.Options()._replace(place="unit=nginx.service")
    assert request.plan("tccap-any", "", chosen).places == {"unit": ("nginx.service",)}


def test_made_from_the_defaults() -> None:
    made = request.plan("tccap-any", "", options.Options())
    assert made.is_any
    assert made.filters == ()
    assert not made.filters_processes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pid": "1,x"}, "'x' is not a process id"),
        ({"pid": "0"}, "'0' is not a process id"),
        ({"process": "-1"}, "'-1' is not a process id"),
        ({"uid": "nobody-of-that-name"}, "There is no user 'nobody-of-that-name'"),
        ({"place": "pod=web"}, "--place is container=NAME or unit=NAME, not 'pod=web'"),
        ({"place": "web"}, "--place is container=NAME"),
        ({"unit": "x" * 256}, "cannot be a name of units"),
        ({"tls_libraries": "/a,b"}, "'b' is not the absolute path of a file"),
    ],
)
def test_a_bad_process_user_or_path_is_named(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(TccapError, match=message):
        request.plan("tccap-any", "", options.Options()._replace(**change))


@pytest.mark.parametrize("interface", ["eth0", "", "tccap", "TCCAP-eth0"])
def test_other_interfaces_are_refused(interface: str) -> None:
    with pytest.raises(TccapError, match="Interfaces are named tccap-"):
        request.plan(interface, "", options.Options())
