import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tccap.errors import TccapError
from tccap.tls import sites
from tccap.tls.sites import Inspection, Number, Numbered, Path, Site

RDI: dict[str, Any] = {"register": "rdi", "offsets": [352]}
LENGTH: dict[str, Any] = {"path": {"register": "rcx", "offsets": []}, "width": 8}
SITE: dict[str, Any] = {
    "address": 0x3A2B0,
    "file_offset": 0x3A2B0,
    "kind": "line",
    "label": {"register": "rsi", "offsets": [0]},
    "label_len": None,
    "client_random": RDI,
    "secret": {"register": "rdx", "offsets": [0]},
    "secret_len": LENGTH,
}
GOOD: dict[str, Any] = {
    "build_id": "00ff",
    "library": "OpenSSL",
    "version_hint": "OpenSSL 3.0.17",
    "sites": [SITE],
    "how": "emulation",
    "refusal": "",
    "handle_at": None,
    "label_strings": [[4096, "CLIENT_RANDOM"]],
}
REFUSED = GOOD | {"sites": [], "library": "", "refusal": "It has no TLS."}
BAD = [
    ("build_id", "0"),
    ("build_id", "0g"),
    ("build_id", "00" * 65),
    ("build_id", 7),
    ("library", "LibreSSL"),
    ("library", ""),
    ("library", ["OpenSSL"]),
    ("version_hint", "x\n"),
    ("version_hint", "\x1b[2J"),
    ("version_hint", "é"),
    ("version_hint", "x" * 501),
    ("sites", None),
    ("sites", {}),
    ("sites", [SITE] * 65),
    ("sites", [None]),
    ("sites", []),
    ("how", "Oracle!"),
    ("how", None),
    ("refusal", "No."),
    ("refusal", None),
    ("handle_at", -1),
    ("handle_at", 25),
    ("handle_at", 8.0),
    ("label_strings", None),
    ("label_strings", ["CLIENT_RANDOM"]),
    ("label_strings", [[4096, "CLIENT_RANDOM2"]]),
    ("label_strings", [[4096, ["CLIENT_RANDOM"]]]),
    ("label_strings", [[-1, "CLIENT_RANDOM"]]),
    ("label_strings", [[4096]]),
    ("label_strings", [[4096, "CLIENT_RANDOM"]] * 65),
]
BAD_SITES = [
    ("address", -1),
    ("address", 1 << 47),
    ("address", True),
    ("address", 1.0),
    ("file_offset", "0"),
    ("kind", "word"),
    ("kind", ["line"]),
    ("label", "CLIENT_RANDOM2"),
    ("label", None),
    ("label", {"register": "rsi", "offsets": []}),
    ("label_len", 15),
    ("label_len", {"path": RDI, "width": 2}),
    ("label_len", {"path": RDI, "width": True}),
    ("label_len", {"path": None, "width": 8}),
    ("client_random", {"register": "rdi", "offsets": []}),
    ("client_random", {"register": "eip", "offsets": [0]}),
    ("client_random", {"register": ["rdi"], "offsets": [0]}),
    ("client_random", {"register": "rdi", "offsets": [0] * 5}),
    ("client_random", {"register": "rdi", "offsets": [1 << 31]}),
    ("client_random", {"register": "rdi", "offsets": [-(1 << 31)]}),
    ("client_random", {"register": "rdi", "offsets": ["0"]}),
    ("client_random", {"register": "rdi", "offsets": "0"}),
    ("client_random", {"register": "rdi"}),
    ("client_random", RDI | {"more": 1}),
    ("secret", None),
    ("secret", "CLIENT_RANDOM"),
    ("secret_len", 31),
    ("secret_len", None),
    ("secret_len", "32"),
    ("secret_len", [32]),
]
NUMBERED: dict[str, object] = {
    "number": LENGTH,
    "labels": [[0, "CLIENT_RANDOM"], [3, "EXPORTER_SECRET"]],
}
BAD_LISTS: list[object] = [
    *(None, 3, "text", {}, [3], ["CLIENT_RANDOM"], [[0, "OTHER"]]),
    *([[0]], [[-1, "CLIENT_RANDOM"]], [[0, ["CLIENT_RANDOM"]]]),
    [[number, "CLIENT_RANDOM"] for number in range(65)],
]
BAD_NUMBERED: list[object] = [
    NUMBERED | {"number": 3},
    NUMBERED | {"more": 3},
    {"labels": NUMBERED["labels"]},
    *(NUMBERED | {"labels": labels} for labels in BAD_LISTS),
]
PATHS = st.builds(
    Path,
    register=st.sampled_from(sorted(sites.REGISTERS)),
    offsets=st.lists(
        st.integers(1 - sites.OFFSET_LIMIT, sites.OFFSET_LIMIT - 1),
        min_size=1,
        max_size=4,
    ).map(tuple),
)
NUMBERS = st.builds(Number, path=PATHS, width=st.sampled_from([4, 8]))
ADDRESSES = st.integers(0, (1 << 47) - 1)
PARTS = {
    "address": ADDRESSES,
    "file_offset": ADDRESSES,
    "kind": st.sampled_from(sites.KINDS),
    "client_random": PATHS,
    "secret": PATHS,
    "secret_len": st.sampled_from([32, 48]) | NUMBERS,
}
TEXTS = st.sampled_from(sites.LABELS)
NUMBERED_LABELS = st.builds(
    Numbered,
    NUMBERS,
    st.lists(st.tuples(ADDRESSES, st.sampled_from(sites.LABELS)), max_size=9).map(
        tuple
    ),
)
SITES = st.builds(
    Site, label=PATHS, label_len=st.none() | NUMBERS, **PARTS
) | st.builds(
    Site,
    label=st.sampled_from(sites.LABELS) | NUMBERED_LABELS,
    label_len=st.none(),
    **PARTS,
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def read(values: object) -> Inspection:
    return Inspection.from_json(json.dumps(values))


def test_a_good_one_is_read() -> None:
    [site] = read(GOOD).sites
    assert site.client_random == Path("rdi", (352,))
    assert site.secret_len == Number(Path("rcx", ()), 8)


def test_a_refusal_is_read() -> None:
    assert read(REFUSED).refusal == "It has no TLS."


def test_a_file_may_have_handles_only() -> None:
    assert read(GOOD | {"sites": [], "handle_at": 8}).handle_at == 8
    with pytest.raises(TccapError):
        read(REFUSED | {"handle_at": 8})


def test_a_constant_label_and_length_are_read() -> None:
    site = SITE | {"label": "CLIENT_RANDOM", "secret_len": 48}
    assert read(GOOD | {"sites": [site]}).sites[0].label == "CLIENT_RANDOM"


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_field_is_refused(name: str, value: object) -> None:
    with pytest.raises(TccapError):
        read(GOOD | {name: value})


@pytest.mark.parametrize(("name", "value"), BAD_SITES)
def test_a_bad_site_is_refused(name: str, value: object) -> None:
    with pytest.raises(TccapError):
        read(GOOD | {"sites": [SITE | {name: value}]})


@pytest.mark.parametrize("bad", BAD_NUMBERED)
def test_a_bad_numbered_label_is_refused(bad: object) -> None:
    assert read(GOOD | {"sites": [SITE | {"label": NUMBERED}]}).sites[0].label
    with pytest.raises(TccapError):
        read(GOOD | {"sites": [SITE | {"label": bad}]})


def test_a_constant_label_has_no_length() -> None:
    with pytest.raises(TccapError):
        read(GOOD | {"sites": [SITE | {"label": "CLIENT_RANDOM", "label_len": LENGTH}]})


@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_missing_field_is_refused(name: str) -> None:
    values = copy.copy(GOOD)
    del values[name]
    with pytest.raises(TccapError):
        read(values)


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(TccapError):
        read(GOOD | {"more": 1})


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "null", b"\xff"])
def test_another_text_is_refused(text: str | bytes) -> None:
    with pytest.raises(TccapError):
        Inspection.from_json(text)


@given(JSON_VALUES, st.sampled_from(sorted(GOOD)), st.sampled_from(sorted(SITE)))
def test_any_value_anywhere_is_refused_or_read(
    value: object, name: str, of_site: str
) -> None:
    for values in (
        value,
        GOOD | {name: value},
        GOOD | {"sites": [SITE | {of_site: value}]},
    ):
        try:
            assert isinstance(read(values), Inspection)
        except TccapError:
            continue


@given(st.lists(SITES, min_size=1, max_size=4).map(tuple))
def test_json_gives_back_the_same(sites: tuple[Site, ...]) -> None:
    inspection = Inspection(
        "ab" * 20, "BoringSSL", "", sites, "emulation from the callback checks", ""
    )
    assert Inspection.from_json(inspection.to_json()) == inspection
