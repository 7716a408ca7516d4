"""What labels say of a place, and which words of filters name it."""

import pytest

from tccap.host.cgrouppath import Place
from tccap.host.containernames import Names
from tccap.owners import placenames
from tccap.owners.placenames import Described
from tccap.stream import abi

ID = "0123456789abcdef" * 4
WEB = Described(ID, "web-1", "web-0", "shop", "web.service")


def test_a_label_has_what_is_known() -> None:
    assert placenames.text(WEB) == (
        b" container=0123456789ab container_name=web-1 pod=web-0 namespace=shop "
        b"unit=web.service"
    )
    assert placenames.text(Described(unit="a b"), "peer_") == b' peer_unit="a b"'
    assert placenames.text(Described()) == b""


@pytest.mark.parametrize("name", ["n" * 255, "\\" * 255, "é" * 200])
def test_a_long_name_is_cut_and_zero_bytes_follow(name: str) -> None:
    text = placenames.text(Described(ID, name, name), "peer_")
    assert len(text) <= abi.CGROUP_TEXT_LEN - 8
    assert b"..." in text
    assert text.isascii()


def test_a_pod_without_a_name_is_its_uid() -> None:
    place = Place("", ID, "", "1234")
    assert placenames.described(place, Names()).pod == "1234"
    assert placenames.described(place, Names("", "web-0")).pod == "web-0"


@pytest.mark.parametrize(
    ("word", "pattern", "fits"),
    [
        ("container", "web-1", True),
        ("container", "web-*", True),
        ("container", "web-[0-9]", True),
        ("container", "web", False),
        ("container", "WEB-1", False),
        ("container", ID, True),
        ("container", ID[:12], True),
        ("container", ID[:11], False),
        ("container", "0123*", True),
        ("container", "*", True),
        ("pod", "web-?", True),
        ("pod", "web-1", False),
        ("namespace", "shop", True),
        ("unit", "web.service", True),
        ("unit", "web", True),
        ("unit", "w*", True),
        ("unit", "web.scope", False),
    ],
)
def test_a_word_names_places(word: str, pattern: str, fits: bool) -> None:
    assert placenames.matches(word, pattern, WEB) == fits


@pytest.mark.parametrize("word", ["container", "pod", "namespace", "unit"])
def test_no_pattern_names_what_is_unknown(word: str) -> None:
    assert not placenames.matches(word, "*", Described())
