import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tccap import plan
from tccap.errors import TccapError
from tccap.options import Options
from tccap.plan import Plan

GOOD: dict[str, Any] = {
    "device": "eth0",
    "direction": "both",
    "snaplen": 262144,
    "ring_mib": 64,
}
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
]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
PLANS = st.builds(
    Plan,
    device=st.text(min_size=1, max_size=15),
    direction=st.sampled_from(["both", "in", "out"]),
    snaplen=st.integers(1, 262144),
    ring_mib=st.integers(1, 1024),
)


@given(PLANS)
def test_round_trip_on_one_line(the_plan: Plan) -> None:
    text = the_plan.to_json()
    assert "\n" not in text
    assert Plan.from_json(text) == the_plan


def test_the_good_one_is_good() -> None:
    assert Plan.from_json(json.dumps(GOOD)) == Plan(**GOOD)


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
    assert getattr(the_plan, field) == value
    assert type(getattr(the_plan, field)) is type(GOOD[field])


@given(st.text())
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(TccapError):
        Plan.from_json(text)


def test_deep_json_is_refused() -> None:
    with pytest.raises(TccapError, match="The plan is not JSON"):
        Plan.from_json("[" * 500_000)


def test_made_from_the_options() -> None:
    options = Options("in", 96, 8, "debug", "/tmp/x.log")
    made = plan.make("tccap-eth0", options)
    assert made == Plan(device="eth0", direction="in", snaplen=96, ring_mib=8)
    assert not made.is_any
    assert plan.make("tccap-any", options).is_any


@pytest.mark.parametrize("interface", ["eth0", "", "tccap", "TCCAP-eth0"])
def test_other_interfaces_are_refused(interface: str) -> None:
    with pytest.raises(TccapError, match="Interfaces are named tccap-"):
        plan.make(interface, Options("in", 96, 8, "debug", ""))
