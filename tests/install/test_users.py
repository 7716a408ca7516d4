"""Ordinary users: who is in the group captures without a password, others do not."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from install.machine import CHECKOUT, TOP, Machine
from install.test_install import CAPTURE_WITH_TRAFFIC, packets

pytestmark = pytest.mark.timeout(600)  # the first test installs packages

ENGINE = f"{TOP}/sbin/tccap-engine"
RULE = "/etc/sudoers.d/tccap"
# What an administrator may have set for everybody, and would be in the way.
OBSTACLES = """
Defaults use_pty, requiretty, log_input, log_output, closefrom_override
Defaults env_keep += "PYTHONPATH PYTHONHOME SUDO_UID LD_LIBRARY_PATH"
Defaults umask=0777, passwd_tries=1
"""
TEN_PACKETS = CAPTURE_WITH_TRAFFIC.replace(
    "-C tccap -i tccap-any -a duration:100 -c 40", "-i tccap-any -c 10 -f 'udp port 9'"
)
TEN_INTO_A_FILE = CAPTURE_WITH_TRAFFIC.replace(
    "tshark -C tccap -i tccap-any -a duration:100 -c 40",
    "umask 0; cd $(mktemp -d); tccap -i any -w file -c 10 udp port 9;"
    "stat -c '%a %U %G' file; tshark -r file 2>/dev/null",
)
TEN_TO_STDOUT = CAPTURE_WITH_TRAFFIC.replace(
    "tshark -C tccap -i tccap-any -a duration:100 -c 40",
    "tccap -i any -w - -c 10 udp port 9 | tshark -r - 2>/dev/null",
)
MEMBER = ("setpriv", "--reuid=ada", "--regid=ada", "--init-groups")
OUTSIDER = ("setpriv", "--reuid=ben", "--regid=ben", "--init-groups")
TO_OUTSIDERS = (
    "Only root and the group wireshark may capture: run 'sudo usermod -aG wireshark "
    "ben', then log out and in again."
)
TO_NEW_MEMBERS = (
    "You joined the group wireshark after you had logged in: log out and in again."
)


@pytest.fixture(scope="module")
def base(folder: Path, machine_with_sudo: Machine) -> Machine:
    """A machine with sudo, where ada is in the group, and ben is not."""
    machine = machine_with_sudo.another(folder / "users")
    machine.shell(
        f"printf '{OBSTACLES}' >>/etc/sudoers; visudo -cq;useradd --shell /bin/bash ben"
    )
    installed = machine.run("./install.sh", folder=CHECKOUT)
    assert (installed.returncode, installed.stderr) == (0, "")
    assert installed.stdout.splitlines()[-1] == (
        "Members of the group wireshark can capture; "
        "to add one: sudo usermod -aG wireshark USER"
    )
    machine.shell("usermod -aG wireshark ada")
    return machine


@pytest.fixture
def users(base: Machine, folder: Path) -> Iterator[Machine]:
    yield base.another(folder / "of a test")
    shutil.rmtree(folder / "of a test")


@pytest.mark.same_everywhere
def test_a_member_captures_with_tshark(users: Machine) -> None:
    result = users.run(*MEMBER, "sh", "-c", TEN_PACKETS)
    assert len(packets(result.stdout)) == 10, result.stdout + result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.same_everywhere
def test_a_member_captures_into_a_file(users: Machine) -> None:
    result = users.run(*MEMBER, "sh", "-c", TEN_INTO_A_FILE)
    assert result.stdout.splitlines()[0] == "600 ada ada", result.stderr
    assert len(packets(result.stdout)) == 10, result.stdout + result.stderr
    assert re.fullmatch(
        r"(Preparing the capture; .*\n)?Capturing on any; Ctrl-C ends it\.\n"
        r"10 packets captured, \d+ received by filter, 0 dropped\n",
        result.stderr,
    )


@pytest.mark.same_everywhere
def test_a_member_captures_to_stdout(users: Machine) -> None:
    result = users.run(*MEMBER, "sh", "-c", TEN_TO_STDOUT)
    assert len(packets(result.stdout)) == 10, result.stdout + result.stderr


@pytest.mark.same_everywhere
def test_an_outsider_gets_the_sentence_and_no_file(users: Machine) -> None:
    result = users.run(*OUTSIDER, "tccap", "-i", "any", "-w", "/tmp/file")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"{TO_OUTSIDERS}\n"
    assert users.run("ls", "/tmp/file").returncode


@pytest.mark.same_everywhere
def test_a_member_writes_no_file_of_root(users: Machine) -> None:
    result = users.run(*MEMBER, "tccap", "-i", "any", "-w", "/etc/passwd")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "/etc/passwd cannot be written: Permission denied.\n"


@pytest.mark.same_everywhere
def test_the_refusal_of_an_outsider_says_what_to_do(users: Machine) -> None:
    capture = ("tshark", "-i", "tccap-lo", "-a", "duration:5")
    result = users.run(*OUTSIDER, *capture)
    assert TO_OUTSIDERS in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.same_everywhere
def test_a_new_member_has_to_log_in_again(users: Machine) -> None:
    # As ada, but with the groups of a log-in before.
    result = users.run("tshark", "-i", "tccap-lo", "-a", "duration:5", user="ada")
    assert TO_NEW_MEMBERS in result.stderr


@pytest.mark.same_everywhere
@pytest.mark.parametrize(
    ("user", "line", "verdict"),
    [
        (
            MEMBER,
            "ok       rights           the group wireshark's, through sudo",
            "A capture will work: tshark -C tccap -i tccap-any",
        ),
        (
            OUTSIDER,
            f"missing  rights           {TO_OUTSIDERS}",
            f"No capture will work yet. Begin with rights: {TO_OUTSIDERS}",
        ),
        (
            ("env",),
            "ok       rights           root",
            "A capture will work: tshark -C tccap -i tccap-any",
        ),
    ],
    ids=["member", "outsider", "root"],
)
def test_check_says_who_one_is(
    users: Machine, user: tuple[str, ...], line: str, verdict: str
) -> None:
    result = users.run(*user, "tccap", "check")
    lines = result.stdout.splitlines()
    assert line in lines, result.stdout
    assert lines[-1] == verdict
    assert result.stderr == ""


OTHER_WAYS = ("reader", "engine", "sudo")


@pytest.mark.parametrize(
    "way",
    [
        *("stop", "front"),
        *(pytest.param(w, marks=pytest.mark.same_everywhere) for w in OTHER_WAYS),
    ],
)
def test_sudo_is_not_in_the_way(users: Machine, way: str) -> None:
    script = f"{CHECKOUT}/tests/install/ending.py"
    done = users.run("/usr/bin/python3", "-I", script, way, timeout_s=120)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert (seen["user of the front"], seen["user of the engine"]) == (1000, "0")
    assert int(seen["user of the carrier"]) > 2_000_000_000
    assert seen["sudo waits"]
    assert seen["writes by itself"]
    assert seen["caller"] == "1000"
    assert seen["environment"] == ["LC_ALL", "PATH", "SUDO_GID", "SUDO_UID"]
    assert seen["left"] == []
    if way == "engine":
        assert seen["stderr"] == "The capturing process was ended by signal 9.\n"
    elif way != "sudo":
        assert seen["stderr"] == ""
    if way != "reader":
        assert seen["stream"] == "0a0d0d0a"


def test_the_callers_limits_do_not_reach_the_engine(users: Machine) -> None:
    users.shell("rm -rf /var/cache/tccap")  # so that the engine writes there
    script = f"{CHECKOUT}/tests/install/limits.py"
    done = users.run("/usr/bin/python3", "-I", script, timeout_s=120)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert (seen["status"], seen["stderr"], seen["folder"]) == ("0", "", "/")
    limits = dict(re.findall(r"^Max (.*?)  +(\S+ +\S+)", seen["limits"], re.MULTILINE))
    assert limits.pop("core file size").split() == ["0", "0"]
    assert limits.pop("file size").split() == ["unlimited", "unlimited"]
    untouched = ("file locks", "nice priority", "realtime priority")
    for name, values in limits.items():
        soft, hard = values.split()
        assert soft == hard or name in untouched, (name, values)
    kept = users.shell("find /var/cache/tccap -type f -printf '%f\\n'").split()
    assert len(kept) >= 2
    assert not [name for name in kept if "." in name]


@pytest.mark.same_everywhere
@pytest.mark.parametrize(
    "command",
    [
        f"sudo -n {ENGINE} sweep",
        f"sudo -n {ENGINE} ''",
        f"sudo -n SUDO_UID=0 {ENGINE}",
        f"sudo -n PYTHONPATH=/tmp {ENGINE}",
        f"sudo -n -E {ENGINE}",
        f"sudo -n -u daemon {ENGINE}",
        f"sudo -n -C 9 {ENGINE} x",
        f"sudo -n {TOP}/venv/bin/python3",
        f"sudo -n {TOP}/extcap/tccap.py engine",
        f"ln -s {ENGINE} /tmp/tccap-engine; sudo -n /tmp/tccap-engine x",
        "cp /bin/sh /tmp/tccap-engine; sudo -n /tmp/tccap-engine",
        "sudo -n sh",
        f"sudo -n -e {ENGINE}",
    ],
)
def test_the_rule_allows_nothing_else(users: Machine, command: str) -> None:
    result = users.run(*MEMBER, "sh", "-c", f"{command} </dev/null")
    assert result.returncode == 1, result.stdout + result.stderr
    assert "sudo: " in result.stderr


@pytest.mark.same_everywhere
def test_a_second_install_keeps_the_rule_and_says_who_can_capture(
    users: Machine,
) -> None:
    """The copy's own script, as messages name it; then it removes all again."""
    users.shell(
        "usermod -aG wireshark ben; useradd --gid wireshark --no-user-group eve"
    )
    rule = users.shell(f"cat {RULE}; stat -c '%a %U:%G' {RULE}")
    assert "440 root:root" in rule
    result = users.run(f"{TOP}/install.sh")
    assert result.returncode == 0
    assert result.stdout.splitlines()[-2:] == [
        ("The group wireshark has these members, who can capture now: ada, ben, eve."),
        (
            "Members of the group wireshark can capture; "
            "to add one: sudo usermod -aG wireshark USER"
        ),
    ]
    assert users.shell(f"cat {RULE}; stat -c '%a %U:%G' {RULE}") == rule
    assert users.run(f"{TOP}/install.sh", "--uninstall").returncode == 0
    assert users.shell("ls -A /etc/sudoers.d") == "README\n"
    result = users.run(*MEMBER, "sudo", "-n", "-l", ENGINE)
    assert result.returncode == 1


@pytest.mark.same_everywhere
def test_a_missing_group_is_made_and_a_refused_rule_is_not_installed(
    users: Machine,
) -> None:
    users.shell(
        "groupdel wireshark;"
        f"rm {RULE}; printf '#!/bin/sh\\nexit 1\\n' >/usr/local/sbin/visudo;"
        "chmod +x /usr/local/sbin/visudo"
    )
    result = users.run(*OUTSIDER, "tshark", "-i", "tccap-lo", "-a", "duration:5")
    assert (
        "There is no group wireshark, whose members may capture; install.sh makes it "
        f"where there is sudo: run sudo {TOP}/install.sh."
    ) in result.stderr
    result = users.run(f"{TOP}/install.sh")
    assert users.shell("getent group wireshark")
    assert result.returncode == 1
    assert result.stderr == (
        "sudo does not take the rule for the group wireshark: see the lines above.\n"
    )
    assert users.shell("ls -A /etc/sudoers.d") == "README\n"


SENDER = """
import socket, sys, time
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    sender.sendto(b"hello", ("127.0.0.1", int(sys.argv[1])))
    time.sleep(0.02)
"""
# Full labels need the host's pids, so here nothing else ends the senders.
CAPTURE_OF_BOTH = """
as() { user=$1; shift; exec setpriv --reuid=$user --regid=$user --init-groups "$@"; }
(as ben --pdeathsig KILL python3 /tmp/sender.py 91 hunter2) & ben=$!
(as ada --pdeathsig KILL python3 /tmp/sender.py 92 of-ada) & ada=$!
trap 'kill $ben $ada' EXIT
(as ada tshark -i tccap-lo -c 400 -f udp \\
    -o extcap.tccap_lo.label:full -T fields -e udp.dstport -e frame.comment)
"""


@pytest.mark.parametrize(
    "allowed", [False, pytest.param(True, marks=pytest.mark.same_everywhere)]
)
def test_other_users_arguments_are_shown_if_the_administrator_allows_it(
    users: Machine, allowed: bool
) -> None:
    users.shell(f"cat >/tmp/sender.py <<'END'{SENDER}END\nchmod 644 /tmp/sender.py")
    if allowed:
        users.shell("umask 022; echo 'details = \"all\"' >/etc/tccap.conf")
    shown = users.run(
        *("sh", "-c", CAPTURE_OF_BOTH),
        variables={"HOME": "/home/ada"},
        own_pids=False,
    )
    lines = shown.stdout.splitlines()
    of_ben = [line for line in lines if line.startswith("91\t") and "uid=1001" in line]
    of_ada = [line for line in lines if line.startswith("92\t") and "uid=1000" in line]
    assert len(of_ben) > 10, shown.stdout + shown.stderr
    assert any("/tmp/sender.py 92 of-ada" in line for line in of_ada)
    assert any("/tmp/sender.py 91 hunter2" in line for line in of_ben) == allowed
    assert ("hunter2" in shown.stdout) == allowed
