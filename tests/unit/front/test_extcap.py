import re

import pytest

from tccap.front import extcap, listing
from tccap.front.options import OPTIONS, Option
from tccap.stream.linktypes import ETHERNET, RAW_IP

SENTENCE = re.compile(r"(extcap|interface|dlt|arg|value) (\{[a-z]+=[^{}]*\})+")
CALLS = [
    listing.interfaces(["lo", "eth0", "odd}name", "d\udcff"]),
    listing.dlts(None),
    listing.dlts(RAW_IP),
    extcap.config(),
    extcap.config("direction"),
]


@pytest.mark.parametrize("text", CALLS)
def test_every_line_is_a_sentence(text: str) -> None:
    assert text.endswith("\n")
    for line in text.splitlines():
        assert SENTENCE.fullmatch(line)


def test_interfaces_are_any_and_the_devices() -> None:
    names = re.findall(r"interface \{value=([^}]*)\}", CALLS[0])
    assert names == ["tccap-any", "tccap-lo", "tccap-eth0"]


def test_any_is_ethernet() -> None:
    assert listing.dlts(None) == listing.dlts(ETHERNET)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_reload_gives_the_values_of_one_option(option: Option) -> None:
    number = OPTIONS.index(option)
    lines = extcap.config().splitlines()
    wanted = [line for line in lines if line.startswith(f"value {{arg={number}}}")]
    assert extcap.config(OPTIONS[number].name).splitlines() == wanted


def test_the_answer_that_is_kept_ready_is_current() -> None:
    assert listing.config("tccap-any") == extcap.config()


def test_wireshark_does_not_keep_what_it_could_not_show_again() -> None:
    reloaded = [line for line in CALLS[3].splitlines() if "{reload=true}" in line]
    names = [re.findall(r"call=--(\w+)", line) for line in reloaded]
    assert names == [["process"], ["place"]]
    assert all("{save=false}" in line for line in reloaded)
    assert CALLS[3].count("{save=") == len(reloaded)
