"""One class, four views of it: arguments, types, checks and sentences agree."""

import argparse
import typing

import pytest

from tccap.errors import TccapError
from tccap.front import extcap, options
from tccap.front.options import OPTIONS, Option, Options

NUMBERS = [option for option in OPTIONS if option.entry.limits]
SELECTORS = [o for o in OPTIONS if o.entry.choices and not o.entry.reload]


def _parsed(*argv: str) -> Options:
    parser = argparse.ArgumentParser()
    options.add_arguments(parser)
    return options.from_arguments(parser.parse_args(argv))


def test_entries_and_types_agree() -> None:
    names = tuple(option.name.replace("-", "_") for option in OPTIONS)
    assert names == Options._fields
    types = typing.get_type_hints(Options)
    for option, value in zip(OPTIONS, _parsed(), strict=True):
        assert type(option.default) is type(value)
        wanted = types[option.name.replace("-", "_")]
        assert wanted is type(value) or option in SELECTORS
        assert (wanted is int) == (option in NUMBERS)
        assert (wanted is bool) == (option.entry.kind == "boolflag")


@pytest.mark.parametrize("option", SELECTORS, ids=lambda option: option.name)
def test_the_choices_are_those_of_the_type(option: Option) -> None:
    wanted = typing.get_type_hints(Options)[option.name.replace("-", "_")]
    values = [value for value, _ in option.entry.choices]
    assert sorted(typing.get_args(wanted)) == sorted(values)


def test_defaults_are_those_of_the_class() -> None:
    assert _parsed() == Options()
    assert tuple(_parsed()) == tuple(option.default for option in OPTIONS)


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize(
    ("argv", "children"),
    [
        ([], False),
        (["--children"], True),
        (["--children", "true"], True),
        (["--children=false"], False),
    ],
)
def test_a_flag_is_a_bool(argv: list[str], children: bool) -> None:
    assert _parsed(*argv).children is children


@pytest.mark.parametrize("text", ["", "True", "1", "no"])
def test_a_flag_is_nothing_else(text: str) -> None:
    with pytest.raises(TccapError, match="--children is one of true, false, not"):
        _parsed(f"--children={text}")


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_a_nul_character_is_refused(option: Option) -> None:
    with pytest.raises(TccapError, match=rf"^--{option.name} must not contain a NUL"):
        _parsed(f"--{option.name}", "a\0b")


def test_a_default_that_is_passed_changes_nothing() -> None:
    argv = [f"--{o.name}={_text(o.default)}" for o in OPTIONS]
    assert _parsed(*argv) == _parsed()


@pytest.mark.parametrize("option", SELECTORS, ids=lambda option: option.name)
def test_every_choice_is_accepted_and_no_other(option: Option) -> None:
    values = [value for value, _ in option.entry.choices]
    assert option.default in values
    for value in values:
        assert value in _parsed(f"--{option.name}", value)
    for other in ("", "BOTH", "nonsense"):
        with pytest.raises(TccapError, match=f"--{option.name} is one of {values[0]}"):
            _parsed(f"--{option.name}", other)


@pytest.mark.parametrize("option", NUMBERS, ids=lambda option: option.name)
def test_limits_are_accepted_and_nothing_beyond(option: Option) -> None:
    assert option.entry.limits
    low, high = option.entry.limits
    for number in (low, high):
        assert number in _parsed(f"--{option.name}", str(number))
    for text in (str(low - 1), str(high + 1), "", "many", "1.5", "0x10", "9" * 5000):
        with pytest.raises(
            TccapError, match=f"--{option.name} is a whole number"
        ) as raised:
            _parsed(f"--{option.name}", text)
        assert len(str(raised.value)) < 200


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_sentences_agree_with_the_entries(option: Option) -> None:
    number = OPTIONS.index(option)
    lines = extcap.config().splitlines()
    (sentence,) = (
        line for line in lines if line.startswith(f"arg {{number={number}}}")
    )
    assert f"{{call=--{option.name}}}" in sentence
    assert f"{{type={option.entry.kind}}}" in sentence
    if option.entry.limits:
        assert "{{range={},{}}}".format(*option.entry.limits) in sentence
        assert f"{{default={option.default}}}" in sentence
    values = [line for line in lines if line.startswith(f"value {{arg={number}}}")]
    assert len(values) == len(option.entry.choices)
    defaults = [line for line in values if "{default=true}" in line]
    assert len(defaults) == bool(option.entry.choices)
    assert all(f"{{value={option.default}}}" in line for line in defaults)


def test_no_text_breaks_a_sentence() -> None:
    for option in OPTIONS:
        entry = option.entry
        texts = [entry.display, entry.tooltip, entry.group, str(option.default)]
        texts += [text for choice in entry.choices for text in choice]
        assert not set("".join(texts)) & set("{}\n")
        assert entry.display
        assert entry.tooltip
