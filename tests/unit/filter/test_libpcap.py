import ctypes
import errno
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frames import ethernet_frames
from support import libpcap_oracle
from support.libpcap_oracle import ETHERNET, RAW
from tccap.filter import libpcap
from tccap.filter.cbpf import FilterError, Insn
from tccap.host import sandbox
from tccap.host.sandbox import User

IPV4 = bytes(12) + b"\x08\x00" + b"\x45" + bytes(40)
NAMELESS = "host 10.0.0.1"


def message(text: str, deadline_s: float | None = None) -> str:
    with pytest.raises(FilterError) as caught:
        libpcap.compile_filter(text, ETHERNET, deadline_s=deadline_s)
    return str(caught.value)


def test_ip_is_four_instructions() -> None:
    assert libpcap.compile_filter("ip", ETHERNET) == (
        Insn(0x28, 0, 0, 12),
        Insn(0x15, 0, 1, 0x0800),
        Insn(0x06, 0, 0, 262144),
        Insn(0x06, 0, 0, 0),
    )


def test_raw_ip_begins_at_the_version() -> None:
    program = libpcap.compile_filter("ip", RAW)
    assert program[0] == Insn(0x30, 0, 0, 0)
    assert libpcap_oracle.matches_offline(program, b"\x45" + bytes(30))
    assert not libpcap_oracle.matches_offline(program, b"\x60" + bytes(50))


def test_the_interpreter_judges() -> None:
    program = libpcap.compile_filter("ip", ETHERNET)
    assert libpcap_oracle.matches_offline(program, IPV4)
    assert not libpcap_oracle.matches_offline(program, IPV4[:13])


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("tcp port", "syntax error"),
        ("tcp and udp", "expression rejects all packets"),
        ("port 99999", "illegal port number"),
        ("host no-such-name.invalid", "unknown host"),
        ("vlan 5000", "VLAN tag 5000"),
        ("tcp\0", "NUL"),
        ("tcp \ud800", "UTF-8"),
        ("tcp" + " " * 100_000, "100003 bytes long"),
        ("x" * 30_000, "out of memory"),
        ("!" * 15_000 + "tcp", "memory exhausted"),
        ("(" * 15_000 + "tcp" + ")" * 15_000, "memory exhausted"),
        ("\N{SNOWMAN}", "syntax error"),
    ],
)
def test_a_bad_filter_gets_a_message(text: str, part: str) -> None:
    assert part in message(text)


@given(st.text())
def test_any_text_gives_a_program_or_a_message(text: str) -> None:
    # Names would go to the resolver; the deadline is the test's as well.
    with suppress(FilterError):
        program = libpcap.compile_filter(text, ETHERNET, deadline_s=0.5)
        assert program[-1].kind == 6


def test_a_resolver_that_hangs_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libpcap, "_compile", lambda *_, **__: time.sleep(60))
    assert "did not finish" in message(NAMELESS, deadline_s=0.1)


def test_a_broadcast_depends_on_the_netmask() -> None:
    assert "netmask not known" in message("ip broadcast")
    program = libpcap.compile_filter("ip broadcast", ETHERNET, 0xFFFFFF00)
    assert 0xFF in [instruction.k for instruction in program]


def test_an_optimiser_that_hangs_leaves_the_plain_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compile_once = libpcap._compile

    def slow(text: bytes, link: int, netmask: int, *, optimise: bool) -> object:
        if optimise:
            time.sleep(60)
        return compile_once(text, link, netmask, optimise=optimise)

    monkeypatch.setattr(libpcap, "_compile", slow)
    plain = libpcap.compile_filter(NAMELESS, ETHERNET, deadline_s=0.5)
    monkeypatch.undo()
    assert len(plain) > len(libpcap.compile_filter(NAMELESS, ETHERNET))


def test_an_optimiser_that_fails_leaves_the_plain_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compile_once = libpcap._compile

    def fails(text: bytes, link: int, netmask: int, *, optimise: bool) -> object:
        if optimise:
            return b"E", b"filter is too complex to optimize"
        return compile_once(text, link, netmask, optimise=False)

    monkeypatch.setattr(libpcap, "_compile", fails)
    assert len(libpcap.compile_filter(NAMELESS, ETHERNET)) == 26


def test_a_crash_of_libpcap_is_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        libpcap, "_compile", lambda *_, **__: signal.raise_signal(signal.SIGKILL)
    )
    assert "without a message" in message(NAMELESS)


STATUS = Path("/proc/self/status")


def status_in_sandbox(
    monkeypatch: pytest.MonkeyPatch, user: User | None
) -> dict[str, str]:
    monkeypatch.setattr(
        libpcap, "_compile", lambda *_, **__: (b"E", STATUS.read_bytes())
    )
    with pytest.raises(FilterError) as caught:
        libpcap.compile_filter(NAMELESS, ETHERNET, user=user)
    return dict(re.findall(r"^(\w+):\t(.*)$", str(caught.value), re.MULTILINE))


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes others")


@needs_root
@pytest.mark.parametrize("user", [User(4711, 4712), None], ids=["member", "root"])
def test_libpcap_has_no_rights_but_the_callers(
    monkeypatch: pytest.MonkeyPatch, user: User | None
) -> None:
    status = status_in_sandbox(monkeypatch, user)
    uids, gids = set(status["Uid"].split()), set(status["Gid"].split())
    if user:
        assert (uids, gids) == ({"4711"}, {"4712"})
    else:
        assert min(map(int, uids | gids)) > 2_000_000_000
    assert status["Groups"].strip() == ""
    for kind in ("CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd"):
        assert int(status[kind], 16) == 0, kind
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


@needs_root
@pytest.mark.parametrize("user", [User(4711, 4712), None], ids=["member", "root"])
def test_names_are_looked_up_without_rights(user: User | None) -> None:
    by_name = libpcap.compile_filter("ip host localhost", ETHERNET, user=user)
    assert by_name == libpcap.compile_filter("ip host 127.0.0.1", ETHERNET)
    by_service = libpcap.compile_filter("tcp port domain", ETHERNET, user=user)
    assert by_service == libpcap.compile_filter("tcp port 53", ETHERNET)


def test_without_a_sandbox_there_are_no_filters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(sandbox, "enter", refuse)
    assert message(NAMELESS) == (
        "Capture filters need a kernel that lets a process give up its rights "
        "(seccomp): Invalid argument."
    )


def test_libpcap_cannot_reach_what_the_parent_has_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "secret").open("wb") as secret:

        def attempt(*_: object, **__: object) -> tuple[bytes, bytes]:
            try:
                os.fstat(secret.fileno())
            except OSError:
                return b"E", b"closed"
            return b"E", b"open"

        monkeypatch.setattr(libpcap, "_compile", attempt)
        assert message(NAMELESS) == "closed"


@pytest.mark.parametrize("attack", ["fork", "write a file", "execute", "trace"])
def test_an_attack_by_a_filter_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, attack: str
) -> None:
    tmp_path.chmod(0o777)
    attacks: dict[str, Callable[[], object]] = {
        "fork": os.fork,
        "write a file": (tmp_path / "made").touch,
        "execute": lambda: os.execv("/bin/true", ["true"]),
        "trace": lambda: ctypes.CDLL(None).ptrace(0, 0, 0, 0),
    }

    def attempt(*_: object, **__: object) -> tuple[bytes, bytes]:
        attacks[attack]()
        return b"E", b"allowed"

    monkeypatch.setattr(libpcap, "_compile", attempt)
    assert "without a message" in message(NAMELESS)
    assert not (tmp_path / "made").exists()


def stops_its_child(monkeypatch: pytest.MonkeyPatch, deadline_s: float) -> bool:
    """Compile in a child that is stopped; return False if it did not get so far."""

    def stopped(*_: object, **__: object) -> tuple[bytes, bytes]:
        os.write(told, str(os.getpid()).encode())
        time.sleep(60)
        return b"E", b"went on"

    def stop() -> None:
        if pid := os.read(hear, 20):
            os.kill(int(pid), signal.SIGSTOP)
            pids.append(pid)

    pids: list[bytes] = []
    hear, told = os.pipe()
    os.set_inheritable(told, True)
    monkeypatch.setattr(libpcap, "_close_all_but", lambda _: None)
    monkeypatch.setattr(libpcap, "_compile", stopped)
    stopper = threading.Thread(target=stop)
    stopper.start()
    assert "did not finish" in message(NAMELESS, deadline_s=deadline_s)
    os.close(told)
    stopper.join()
    os.close(hear)
    return bool(pids)


@needs_root
def test_a_child_that_its_user_stops_does_not_stop_the_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deadlines_s = (0.5, 4, 32)  # on a busy machine the child needs more
    assert any(stops_its_child(monkeypatch, each) for each in deadlines_s)


def test_both_compilations_judge_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "tcp port 443 or (vlan and host 10.0.0.5)"
    optimised = libpcap_oracle.offline_filter(libpcap.compile_filter(text, ETHERNET))
    monkeypatch.setattr(libpcap, "MAX_OPTIMISED_INSNS", 0)
    plain = libpcap_oracle.offline_filter(libpcap.compile_filter(text, ETHERNET))
    verdicts = [optimised(frame) for frame in ethernet_frames(300)]
    assert len(set(verdicts)) == 2
    assert verdicts == [plain(frame) for frame in ethernet_frames(300)]
