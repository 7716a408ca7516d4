import grp
import pwd

import pytest

from tccap.errors import TccapError
from tccap.front import extcap, front, launcher, signals
from tccap.host import netdev

CONFIG = ["--extcap-config", "--extcap-interface", "tccap-lo"]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    types = {"lo": 772, "eth0": 1, "tun0": 65534, "odd0": 9999, "a}b": 1, "gone": None}
    monkeypatch.setattr(netdev, "device_names", lambda: list(types))
    monkeypatch.setattr(netdev, "hardware_type", types.get)


def test_unknown_arguments_are_ignored(capsys: pytest.CaptureFixture[str]) -> None:
    assert front.main(CONFIG) == 0
    plain = capsys.readouterr()
    more = ["--extcap-version=9.9", "--from-the-future", "--value", "x", "stray"]
    assert front.main([*more, *CONFIG, *more]) == 0
    assert capsys.readouterr() == plain
    assert plain.out == extcap.config()
    assert plain.err == ""


@pytest.mark.usefixtures("machine")
def test_interfaces_are_those_that_can_be_captured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert front.main(["--extcap-interfaces"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    names = [line.split("}")[0].removeprefix("interface {value=") for line in lines]
    assert names == ["tccap-any", "tccap-lo", "tccap-eth0", "tccap-tun0"]


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--extcap-dlts"], "Interfaces are named tccap-..., not ''."),
        (["--extcap-config"], "Interfaces are named tccap-..., not ''."),
        (
            ["--extcap-dlts", "--extcap-interface", "eth0"],
            "Interfaces are named tccap-..., not 'eth0'.",
        ),
        (
            ["--extcap-dlts", "--extcap-interface", "tccap-gone"],
            "There is no network device 'gone'.",
        ),
        (
            ["--extcap-dlts", "--extcap-interface", "tccap-odd0"],
            "Frames of 'odd0' have a link type that is not known.",
        ),
        (
            ["--capture", "--extcap-interface", "tccap-lo"],
            "--capture wants --fifo: Wireshark gives it.",
        ),
        (
            ["--capture", "--fifo", "/nowhere/fifo"],
            "/nowhere/fifo cannot be written: No such file or directory.",
        ),
        (
            ["--capture", "--snaplen"],
            "The command line is not right: argument --snaplen: expected one argument.",
        ),
    ],
)
def test_an_error_is_one_sentence(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    argv: list[str],
    sentence: str,
) -> None:
    monkeypatch.setattr(signals, "on_stop", lambda _handler: None)
    assert front.main(argv) == 1
    assert capsys.readouterr() == ("", f"{sentence}\n")


def test_options_are_not_abbreviated(capsys: pytest.CaptureFixture[str]) -> None:
    assert front.main(["--extcap-conf", "--extcap-interface", "tccap-lo"]) == 1
    assert "has none of Wireshark's calls" in capsys.readouterr().err


def test_cleanup_asks_an_engine_to_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    swept = []
    monkeypatch.setattr(launcher, "sweep", lambda: swept.append(True))
    assert front.main(["--extcap-cleanup-postkill"]) == 0
    assert swept == [True]


def test_without_sudo_capturing_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(launcher, "SUDO", "/nowhere/sudo")
    with pytest.raises(TccapError, match="Capturing needs root where there is no"):
        launcher.start(1)
    assert front.main(["--extcap-cleanup-postkill"]) == 0


def _user_in(
    monkeypatch: pytest.MonkeyPatch, group: str, *, of_session: tuple[int, ...] = ()
) -> None:
    ada = pwd.struct_passwd(("ada", "x", 1000, 1000, "", "/", "/bin/sh"))
    groups = {"wireshark": grp.struct_group(("wireshark", "x", 120, [group]))}
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("os.getgroups", lambda: of_session)
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: ada)
    monkeypatch.setattr(grp, "getgrnam", groups.__getitem__)
    monkeypatch.setattr(launcher, "SUDO", "/bin/true")


@pytest.mark.parametrize(
    ("member", "sentence"),
    [
        ("ben", "run 'sudo usermod -aG wireshark ada', then log out and in again"),
        ("ada", "after you had logged in: log out and in again"),
    ],
)
def test_a_user_who_may_not_capture_gets_the_reason(
    monkeypatch: pytest.MonkeyPatch, member: str, sentence: str
) -> None:
    _user_in(monkeypatch, member)
    with pytest.raises(TccapError, match=sentence):
        launcher.start(1)


def test_a_member_starts_the_engine_through_sudo(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _user_in(monkeypatch, "ada", of_session=(7, 120))
    launcher.sweep()
    monkeypatch.setattr(launcher, "SUDO", "/bin/false")
    with pytest.raises(TccapError, match="The capturing process did not start"):
        launcher.sweep()


def test_the_real_devices_are_seen() -> None:
    assert "lo" in netdev.device_names()
    assert netdev.hardware_type("lo") == 772
    assert netdev.hardware_type("no-such-device") is None
