import re

import pytest

from tccap.errors import TccapError
from tccap.front import extcap
from tccap.front.options import OPTIONS, Option
from tccap.stream.linktypes import ETHERNET, RAW_IP

SENTENCE = re.compile(r"(extcap|interface|dlt|arg|value) (\{[a-z]+=[^{}]*\})+")
CALLS = [
    extcap.interfaces(["lo", "eth0", "odd}name"], "file:///README.md"),
    extcap.dlts(None),
    extcap.dlts(RAW_IP),
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
    assert extcap.dlts(None) == extcap.dlts(ETHERNET)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_reload_gives_the_values_of_one_option(option: Option) -> None:
    number = OPTIONS.index(option)
    lines = extcap.config().splitlines()
    wanted = [line for line in lines if line.startswith(f"value {{arg={number}}}")]
    assert extcap.config(OPTIONS[number].name).splitlines() == wanted


def test_device_of() -> None:
    assert extcap.device_of("tccap-eth0") == "eth0"
    assert extcap.device_of("tccap-tccap-x") == "tccap-x"
    for other in (None, "", "eth0"):
        with pytest.raises(TccapError):
            extcap.device_of(other)


@pytest.mark.parametrize(("device", "can"), [("eth0.7", True), ("a{b", False)])
def test_is_listable(device: str, can: bool) -> None:
    assert extcap.is_listable(device) == can


def test_wireshark_does_not_keep_what_it_could_not_show_again() -> None:
    reloaded = [line for line in CALLS[3].splitlines() if "{reload=true}" in line]
    assert [re.findall(r"call=--(\w+)", line) for line in reloaded] == [["process"]]
    assert all("{save=false}" in line for line in reloaded)
    assert CALLS[3].count("{save=") == len(reloaded)
