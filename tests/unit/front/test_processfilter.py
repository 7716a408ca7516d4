"""Lists that people type: parsed, or refused in one sentence."""

import itertools
import os
import pwd
import subprocess

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tccap.errors import TccapError
from tccap.filter import language
from tccap.front import processfilter, request
from tccap.front.options import Options
from tccap.ipc.values import LIST_MAX, PID_MAX, UID_MAX

LISTS = (processfilter.pids, processfilter.uids, processfilter.comms)
# What a command line can contain: bytes that are not UTF-8 are surrogates.
ARGUMENTS = st.binary(max_size=40).map(lambda raw: raw.decode(errors="surrogateescape"))


@pytest.mark.parametrize("listed", LISTS)
@pytest.mark.parametrize("text", ["", " ", ",", " , ,,"])
def test_an_empty_list_chooses_nothing(listed: object, text: str) -> None:
    assert callable(listed)
    assert listed(text) == ()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("7", (7,)),
        ("1", (1,)),
        (str(PID_MAX), (PID_MAX,)),
        (" 8 ,7,, 8,\t9\n", (7, 8, 9)),
        ("007", (7,)),
        ("0" * 5000 + "7", (7,)),
    ],
)
def test_process_ids(text: str, found: tuple[int, ...]) -> None:
    assert processfilter.pids(text) == found


@pytest.mark.parametrize(
    "item",
    [
        "0",
        "000",
        "-1",
        "+1",
        "1.0",
        "1e3",
        "0x10",
        "1_0",
        "1 2",
        "x",
        "²",
        "٣",
        str(PID_MAX + 1),
        "4294967297",
        "0000000000099999999999",
        "9" * 5000,
        "0" * 5000,
        "1\0",
        "\ud800",
        chr(0xDCFF),
    ],
)
def test_a_bad_process_id_is_one_short_sentence(item: str) -> None:
    with pytest.raises(
        TccapError, match=r"^'.*'(\.\.\.)? is not a process id\.$"
    ) as raised:
        processfilter.pids(f"1, {item}")
    assert len(str(raised.value)) < 500
    assert str(raised.value).isprintable()


def test_the_item_that_is_wrong_is_named() -> None:
    with pytest.raises(TccapError, match=r"^'x' is not a process id\.$"):
        processfilter.pids("1,x,2")


@pytest.fixture
def users(monkeypatch: pytest.MonkeyPatch) -> None:
    def named(name: str) -> pwd.struct_passwd:
        uid = {"root": 0, "ada": 1000, "5x": 7}[name]
        return pwd.struct_passwd((name, "x", uid, uid, "", "/", "/bin/sh"))

    monkeypatch.setattr(pwd, "getpwnam", named)


@pytest.mark.usefixtures("users")
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0", (0,)),
        ("root", (0,)),
        ("ada, 0, root", (0, 1000)),
        ("1000,ada", (1000,)),
        ("5x", (7,)),
        ("000", (0,)),
        ("0" * 5000 + "9", (9,)),
        (str(UID_MAX), (UID_MAX,)),
    ],
)
def test_user_ids(text: str, found: tuple[int, ...]) -> None:
    assert processfilter.uids(text) == found


@pytest.mark.parametrize(
    "item",
    [
        "nobody-of-that-name",
        "-1",
        "1.0",
        "²",
        str(UID_MAX + 1),  # (uid_t) -1 stands for "no change"
        "4294967296",
        "0000000000099999999999",
        "9" * 5000,
        "x" * 5000,
        "ro\0ot",
        "\ud800",
        chr(0xDCFF),
    ],
)
def test_an_unknown_user_is_one_short_sentence(item: str) -> None:
    with pytest.raises(
        TccapError, match=r"^There is no user '.*'(\.\.\.)?\.$"
    ) as raised:
        processfilter.uids(f"0, {item}")
    assert len(str(raised.value)) < 500
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("curl", ("curl",)),
        ("b,a,b", ("a", "b")),
        (" Web Content , x", ("Web Content", "x")),
        ("15-bytes-long--", ("15-bytes-long--",)),
        ("16-bytes-long---", ("16-bytes-long--",)),
        ("gnome-terminal-server", ("gnome-terminal-",)),
        # Both are one name for the kernel.
        ("gnome-terminal-server,gnome-terminal-x", ("gnome-terminal-",)),
        ("é" * 7, ("é" * 7,)),
        ("é" * 8, ("é" * 7,)),
        ("x" + "é" * 7, ("x" + "é" * 7,)),
        ("x" * 14 + "é", ("x" * 14,)),
        ("x" * 13 + "€", ("x" * 13,)),
        ("x" * 12 + "😀", ("x" * 12,)),
        ("\udcff" * 16, ("\udcff" * 15,)),
        ("x" * 100_000, ("x" * 15,)),
    ],
)
def test_process_names(text: str, found: tuple[str, ...]) -> None:
    assert processfilter.comms(text) == found


@given(st.text("aé€😀", min_size=1))
@example("x" * 14 + "é")
def test_a_name_is_cut_as_the_filter_word_cuts_it(name: str) -> None:
    word = language.parse(f"comm {name}")
    assert isinstance(word, language.Process)
    assert processfilter.comms(name) == (word.value,)


@pytest.mark.parametrize("item", ["a\0b", "\0", "\ud800", "x" * 10 + "\udfff"])
def test_an_impossible_process_name_is_one_sentence(item: str) -> None:
    with pytest.raises(TccapError, match=r"^'.*' cannot be the name of a process\.$"):
        processfilter.comms(f"x,{item}")


@pytest.mark.parametrize("listed", LISTS)
def test_a_list_as_long_as_the_kernels_table_and_no_longer(listed: object) -> None:
    assert callable(listed)
    items = [str(number) for number in range(1, LIST_MAX + 2)]
    assert len(listed(",".join(items[:-1]))) == LIST_MAX
    with pytest.raises(TccapError, match=f"^{LIST_MAX + 1} .* {LIST_MAX} are possible"):
        listed(",".join(items))


@given(*itertools.repeat(ARGUMENTS, 3))
def test_any_arguments_are_a_plan_or_a_sentence(pid: str, uid: str, comm: str) -> None:
    for chosen in (Options(pid=pid), Options(uid=uid), Options(comm=comm)):
        sentence = _refusal(chosen)
        assert sentence.isprintable()
        assert "The plan's" not in sentence


def _refusal(chosen: Options) -> str:
    try:
        request.plan("tccap-lo", "", chosen)
    except TccapError as error:
        return str(error)
    return ""


def test_a_chosen_process_has_to_exist() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        processfilter.need_running((1, os.getpid(), process.pid))
        assert process.stdin
        process.stdin.close()
        process.wait()
    with pytest.raises(
        TccapError, match=rf"^There is no process {process.pid}: choose "
    ):
        processfilter.need_running((1, process.pid))
