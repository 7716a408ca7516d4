import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tccap import options, plan
from tccap.errors import TccapError
from tccap.plan import Plan

CHOSEN = options.defaults()
# As JSON has it.
GOOD: dict[str, Any] = json.loads(plan.make("tccap-eth0", "", CHOSEN).to_json())
BAD = [
    ("device", ""),
    ("device", "a-name-too-long-"),
    ("device", None),
    ("device", ["eth0"]),
    ("direction", "sideways"),
    ("direction", ["in"]),
    ("direction", None),
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
    ("pids", [0]),
    ("pids", [1 << 22]),
    ("pids", ["1"]),
    ("pids", [1] * 1025),
    ("pids", [True]),
    ("uids", [-1]),
    ("uids", [(1 << 32) - 1]),
    ("comms", [""]),
    ("comms", ["sixteen-letters-"]),
    ("comms", "bash"),
    ("comms", ["\ud800"]),
    ("children", 1),
    ("sockets", 0),
    ("processes", (1 << 22) + 1),
]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
PLANS = st.builds(
    plan.make,
    st.text("abcdefghij0123456789.-_", max_size=12).map("tccap-x{}".format),
    st.text(),
    st.builds(
        CHOSEN._replace,
        direction=st.sampled_from(["both", "in", "out"]),
        label=st.sampled_from(["off", "short", "full"]),
        snaplen=st.integers(1, 262144),
        ring_size=st.integers(1, 1024),
        pid=st.lists(st.integers(1, 1 << 21), max_size=9).map(
            lambda pids: ",".join(map(str, pids))
        ),
        children=st.sampled_from(["true", "false"]),
    ),
)


@given(PLANS)
def test_round_trip_on_one_line(the_plan: Plan) -> None:
    text = the_plan.to_json()
    assert "\n" not in text
    assert Plan.from_json(text) == the_plan


def test_the_good_one_is_good() -> None:
    assert Plan.from_json(json.dumps(GOOD)) == plan.make("tccap-eth0", "", CHOSEN)


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
    kept = json.loads(the_plan.to_json())[field]
    assert kept == value
    assert type(kept) is type(GOOD[field])


@given(st.text())
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(TccapError):
        Plan.from_json(text)


def test_deep_json_is_refused() -> None:
    with pytest.raises(TccapError, match="The plan is not JSON"):
        Plan.from_json("[" * 500_000)


def test_made_from_the_options() -> None:
    chosen = CHOSEN._replace(
        direction="in", snaplen=96, ring_size=8, filter="udp", pid="7,5", uid="root"
    )
    made = plan.make("tccap-eth0", "tcp", chosen)
    assert (made.device, made.direction, made.snaplen) == ("eth0", "in", 96)
    assert (made.ring_mib, made.filters) == (8, ("tcp", "udp"))
    assert (made.pids, made.uids, made.comms) == ((5, 7), (0,), ())
    assert not made.is_any
    assert plan.make("tccap-any", " ", CHOSEN).is_any
    assert plan.make("tccap-any", " ", CHOSEN).filters == ()


@pytest.mark.parametrize("interface", ["eth0", "", "tccap", "TCCAP-eth0"])
def test_other_interfaces_are_refused(interface: str) -> None:
    with pytest.raises(TccapError, match="Interfaces are named tccap-"):
        plan.make(interface, "", CHOSEN)
