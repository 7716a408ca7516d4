"""The texts about the command line, compared with the table of options."""

import subprocess
from pathlib import Path

import pytest

from tccap.front import arguments, usage
from tccap.front.options import OPTIONS, Option
from tccap.paths import TOP

PAGE = Path(TOP, "man", "tccap.1")
TEXT = PAGE.read_text(encoding="utf-8")


def entry_of(option: Option) -> str:
    """Return the option's entry of the man page."""
    name = option.name.replace("-", "\\-")
    value = usage.value_of(option)
    head = f'.BI \\-\\-{name} " {value}"' if value else f".B \\-\\-{name}"
    text = option.entry.tooltip
    if option.entry.limits:
        text += ", {} to {}".format(*option.entry.limits)
    if option.default not in ("", False):
        text += f"; default {option.default}"
    return f".TP\n{head}\n{text}.\n"


def test_the_man_page_has_the_options_of_the_table() -> None:
    assert "".join(map(entry_of, OPTIONS)) in TEXT


def test_help_and_man_page_have_every_option_of_the_parser() -> None:
    help_text = usage.help_text()
    for action in arguments._parser()._actions:
        for word in action.option_strings:
            if word in arguments._REFUSED:
                continue
            assert word.replace("-", "\\-") in TEXT or word == "-h", word
            if not word.startswith("--") and word != "-h":
                assert word in help_text, word


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_help_names_each_option(option: Option) -> None:
    assert f"  --{option.name}" in usage.help_text()


def test_the_man_page_is_valid_roff() -> None:
    done = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", str(PAGE)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
