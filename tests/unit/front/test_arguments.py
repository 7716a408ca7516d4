"""The arguments of ``tccap -i ... -w ...``: what they mean, and what is refused."""

import pytest

from tccap.errors import TccapError
from tccap.front import arguments
from tccap.front.arguments import Request
from tccap.front.options import OPTIONS, Option, Options
from tccap.ipc.values import SNAPLEN_MAX

CAPTURE = ("-i", "eth0", "-w", "FILE")


def _request(*words: str) -> Request:
    call = arguments.parse([*CAPTURE, *words])
    assert call.request
    return call.request


def test_the_least_that_a_capture_needs() -> None:
    assert _request() == Request("eth0", "FILE", None, None, "", Options())


@pytest.mark.parametrize(
    "words",
    [
        ("tcp", "port", "443"),
        ("tcp port 443",),
        ("tcp", "-c", "3", "port", "443"),
        ("-c", "3", "--", "tcp", "port", "443"),
    ],
)
def test_a_filter_is_all_words_that_are_left(words: tuple[str, ...]) -> None:
    assert _request(*words).filter == "tcp port 443"


def test_a_flag_does_not_swallow_the_filters_first_word() -> None:
    found = _request("--children", "true", "or", "false")
    assert found.options.children
    assert found.filter == "true or false"


def _value(option: Option) -> str:
    """Return a value that is not the default."""
    entry = option.entry
    if entry.limits:
        return str(next(n for n in entry.limits if n != option.default))
    if entry.choices and not entry.reload:
        return next(v for v, _ in entry.choices if v != option.default)
    return "/some/text"


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_option_of_the_dialog_is_taken(option: Option) -> None:
    words = [f"--{option.name}"]
    if option.entry.kind != "boolflag":
        words.append(_value(option))
    field = option.name.replace("-", "_")
    changed = getattr(_request(*words).options, field)
    assert changed != option.default
    assert str(changed) == (words[1:] or ["True"])[0]


def test_a_snapshot_length_of_0_keeps_all() -> None:
    assert _request("-s", "0").options.snaplen == SNAPLEN_MAX
    assert _request("-s", "96").options.snaplen == 96


def test_counts_and_durations() -> None:
    found = _request("-c", "17", "-a", "duration:1.5")
    assert (found.packets_max, found.duration_s) == (17, 1.5)
    assert _request("--autostop", "duration:3").duration_s == 3


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("-c", "-1"), "-c is a number of packets from 1 on, not '-1'."),
        (("-c", "1e3"), "-c is a number of packets from 1 on, not '1e3'."),
        (("-a", "duration:0"), "-a is duration:SECONDS, such as -a duration:10"),
        (("-a", "duration:nan"), "-a is duration:SECONDS, such as -a duration:10"),
        (("-a", "duration:inf"), "-a is duration:SECONDS, such as -a duration:10"),
        (("-a", "filesize:9"), "-a is duration:SECONDS, such as -a duration:10"),
        (("-s", "-1"), "--snaplen is a whole number from 1 to"),
        (("-C", "10"), "-C: tccap does not split a capture into files yet; pipe"),
        (("-W",), "-W: tccap does not split a capture into files yet; pipe"),
        (("--lab", "full"), "The command line is not right: unrecognized"),
    ],
)
def test_what_is_refused(words: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(TccapError) as caught:
        _request(*words)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("word", "field"),
    [
        ("-h", "help"),
        ("--help", "help"),
        ("--version", "version"),
        ("-D", "list"),
        ("--list-interfaces", "list"),
    ],
)
def test_short_answers_need_nothing_else(word: str, field: str) -> None:
    call = arguments.parse([word])
    assert getattr(call, field)
    assert call.request is None
