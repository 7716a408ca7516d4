"""One table, four views of it: arguments, types, checks and sentences agree."""

import argparse
import typing

import pytest

from tccap.errors import TccapError
from tccap.front import extcap, options
from tccap.front.options import OPTIONS, Option, Options

NUMBERS = [option for option in OPTIONS if option.limits]
SELECTORS = [option for option in OPTIONS if option.choices and not option.reload]


def _parsed(*argv: str) -> Options:
    parser = argparse.ArgumentParser()
    options.add_arguments(parser)
    return options.from_arguments(parser.parse_args(argv))


def test_table_and_type_have_the_same_names_and_types() -> None:
    names = tuple(option.name.replace("-", "_") for option in OPTIONS)
    assert names == Options._fields
    types = typing.get_type_hints(Options)
    for option, value in zip(OPTIONS, _parsed(), strict=True):
        assert type(option.default) is type(value)
        assert types[option.name.replace("-", "_")] is type(value)


def test_defaults_are_the_tables_and_acceptable() -> None:
    assert tuple(_parsed()) == tuple(option.default for option in OPTIONS)


def test_a_default_that_is_passed_changes_nothing() -> None:
    argv = [f"--{option.name}={option.default}" for option in OPTIONS]
    assert _parsed(*argv) == _parsed()


@pytest.mark.parametrize("option", SELECTORS, ids=lambda option: option.name)
def test_every_choice_is_accepted_and_no_other(option: Option) -> None:
    values = [value for value, _ in option.choices]
    assert option.default in values
    for value in values:
        assert value in _parsed(f"--{option.name}", value)
    for other in ("", "BOTH", "nonsense"):
        with pytest.raises(TccapError, match=f"--{option.name} is one of {values[0]}"):
            _parsed(f"--{option.name}", other)


@pytest.mark.parametrize("option", NUMBERS, ids=lambda option: option.name)
def test_limits_are_accepted_and_nothing_beyond(option: Option) -> None:
    assert option.limits
    low, high = option.limits
    for number in (low, high):
        assert number in _parsed(f"--{option.name}", str(number))
    for text in (str(low - 1), str(high + 1), "", "many", "1.5", "0x10", "9" * 5000):
        with pytest.raises(TccapError, match=f"--{option.name} is a whole number"):
            _parsed(f"--{option.name}", text)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_sentences_tell_the_same(option: Option) -> None:
    number = OPTIONS.index(option)
    lines = extcap.config().splitlines()
    (sentence,) = (
        line for line in lines if line.startswith(f"arg {{number={number}}}")
    )
    assert f"{{call=--{option.name}}}" in sentence
    assert f"{{type={option.kind}}}" in sentence
    if option.limits:
        assert f"{{range={option.limits[0]},{option.limits[1]}}}" in sentence
        assert f"{{default={option.default}}}" in sentence
    values = [line for line in lines if line.startswith(f"value {{arg={number}}}")]
    assert len(values) == len(option.choices)
    defaults = [line for line in values if "{default=true}" in line]
    assert len(defaults) == bool(option.choices)
    assert all(f"{{value={option.default}}}" in line for line in defaults)


def test_no_text_breaks_a_sentence() -> None:
    for option in OPTIONS:
        texts = [option.display, option.tooltip, option.group, str(option.default)]
        texts += [text for choice in option.choices for text in choice]
        assert not set("".join(texts)) & set("{}\n")
        assert option.display
        assert option.tooltip
