"""install.sh and what it leaves, on fresh machines, as a stranger would use it."""

import re

import pytest

from install.machine import CHECKOUT, PATH, TOP, USERS, Machine

pytestmark = pytest.mark.timeout(600)  # the first test installs packages

EXTCAP = f"{TOP}/extcap/tccap.py"
SHORT_CALLS = (
    "--extcap-interfaces --extcap-version=4.0",
    "--extcap-config --extcap-interface tccap-any",
    "--extcap-dlts --extcap-interface tccap-lo",
)
# What a user's shell may hold and tccap must not heed.
HOSTILE = {
    "PATH": f"/opt/other:{PATH}",
    "BCC_KERNEL_SOURCE": "/nonsense",
    "PYTHONPATH": "/nonsense",
    "PYTHONHOME": "/nonsense",
}
FAKE_PYTHON = """
mkdir -p /opt/other
printf '#!/bin/sh\necho this is another python >&2\nexit 3\n' >/opt/other/python3
chmod +x /opt/other/python3
"""
MADE_BY_PACKAGES = (
    r"/var/(lib/(dpkg|apt|python)|cache|log)(/|$)|/etc/|.*/__pycache__(/|$)"
    r"|/usr/local/lib/python3\.\d+(/dist-packages)?$"
)
# The sender goes on until tshark has ended, and with it the namespace.
CAPTURE_WITH_TRAFFIC = """
/usr/bin/python3 -Ic '
import socket, time
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    sender.sendto(b"hello", ("127.0.0.1", 9))
    time.sleep(0.02)
' &
tshark -i tccap-any -a duration:3
"""


def packets(output: str) -> list[str]:
    return re.findall(r"127\.0\.0\.1 → 127\.0\.0\.1 +UDP .*→ 9 ", output)


def test_the_two_commands_of_the_readme_show_packets(machine: Machine) -> None:
    result = machine.run("sh", "-c", CAPTURE_WITH_TRAFFIC)
    assert result.returncode == 0
    assert len(packets(result.stdout)) >= 10, result.stdout + result.stderr
    assert "Capturing on 'eBPF TC (pid-aware): tccap-any'" in result.stderr
    assert "Traceback" not in result.stderr


def test_neither_environment_nor_other_pythons_matter(machine: Machine) -> None:
    machine.shell(FAKE_PYTHON)
    result = machine.run("sh", "-c", CAPTURE_WITH_TRAFFIC, variables=HOSTILE)
    assert len(packets(result.stdout)) >= 10, result.stdout + result.stderr
    check = machine.run("tccap", "check", variables=HOSTILE)
    assert check.returncode == 0, check.stdout


@pytest.mark.parametrize("call", SHORT_CALLS)
def test_an_ordinary_user_is_answered_like_root(call: str, machine: Machine) -> None:
    (link,) = links_into_the_copy(machine, "/usr/lib/*/wireshark/extcap")
    answers = [machine.run(link, *call.split(), user=u) for u in ("root", "ada")]
    assert [answer.returncode for answer in answers] == [0, 0]
    assert [answer.stderr for answer in answers] == ["", ""]
    assert answers[0].stdout == answers[1].stdout != ""


def test_an_ordinary_user_sees_the_interfaces_in_tshark(machine: Machine) -> None:
    listing = machine.run("tshark", "-D", user="ada")
    for interface in ("tccap-any", "tccap-lo"):
        assert f"{interface} (eBPF TC (pid-aware))" in listing.stdout


def test_the_fields_of_processes_are_there(machine: Machine) -> None:
    for user in USERS:
        fields = machine.run("tshark", "-G", "fields", user=user).stdout
        assert "\ttccap.pid\t" in fields, user


def test_without_sudo_an_ordinary_user_is_told(machine: Machine) -> None:
    result = machine.run("tshark", "-i", "tccap-any", "-a", "duration:5", user="ada")
    assert "Capturing needs root where there is no sudo: start" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", ["tccap check", f"{CHECKOUT}/install.sh --check"])
def test_check_finds_nothing_missing(command: str, machine: Machine) -> None:
    result = machine.run(*command.split())
    assert "missing" not in result.stdout
    assert result.stdout.endswith("A capture will work: sudo tshark -i tccap-any\n")
    assert (result.returncode, result.stderr) == (0, "")


def test_check_tells_an_ordinary_user_what_it_could_not_try(machine: Machine) -> None:
    result = machine.run("tccap", "check", user="ada")
    missing = [x for x in result.stdout.splitlines() if x.startswith("missing")]
    assert missing == [
        (
            "missing  rights           Capturing needs root where there is no sudo: "
            "start tshark or Wireshark as root."
        )
    ]
    assert "not tried, that needs root: sudo tccap check" in result.stdout
    assert (result.returncode, result.stderr) == (1, "")


def test_without_bcc_one_sentence_says_what_to_install(machine: Machine) -> None:
    machine.shell("dpkg --remove python3-bpfcc")
    result = machine.run("tshark", "-i", "tccap-any", "-a", "duration:5", timeout_s=20)
    assert "install python3-bpfcc (sudo apt install python3-bpfcc)" in result.stderr
    assert "Traceback" not in result.stderr
    check = machine.run("tccap", "check")
    assert re.search(
        r"^missing +bcc .*install python3-bpfcc", check.stdout, re.MULTILINE
    )
    assert (check.returncode, check.stderr) == (1, "")


def test_a_second_run_needs_no_network_and_changes_nothing(machine: Machine) -> None:
    machine.shell(FAKE_PYTHON)
    before = contents(machine)
    result = machine.run(f"{CHECKOUT}/install.sh", folder="/tmp", variables=HOSTILE)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "Installing" not in result.stdout
    assert contents(machine) == before
    assert machine.run("tccap", "check").returncode == 0


def test_only_root_can_change_what_the_engine_runs(machine: Machine) -> None:
    files = machine.files(TOP, "/usr/local/bin/tccap")
    assert f"{TOP}/venv/bin/python3" in files
    for path, facts in files.items():
        kind, mode, owner = facts.split()[:3]
        assert owner == "root:root", path
        assert kind == "l" or int(mode, 8) & 0o022 == 0, path


def test_uninstall_leaves_nothing_but_packages(
    machine: Machine, fresh_machine: Machine
) -> None:
    # The copy's own script, since people throw checkouts away.
    result = machine.run(f"{TOP}/install.sh", "--uninstall")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == (
        "tccap is removed. These packages stay: python3-bpfcc python3-venv tshark.\n"
    )
    new = machine.files("/").keys() - fresh_machine.files("/").keys()
    assert "/usr/bin/tshark" in new
    owned = machine.shell("cat /var/lib/dpkg/info/*.list").splitlines()
    # Packages may still call /usr/lib by the name of the link to it.
    owned += [f"/usr{path}" for path in owned]
    assert sorted(path for path in new - set(owned) if not is_of_dpkg(path)) == []


def is_of_dpkg(path: str) -> bool:
    """Tell whether packages make such files as they are installed."""
    return re.match(MADE_BY_PACKAGES, path) is not None


def test_uninstall_without_an_install_is_no_error(fresh_machine: Machine) -> None:
    result = fresh_machine.run("./install.sh", "--uninstall", folder=CHECKOUT)
    assert (result.returncode, result.stderr) == (0, "")


def test_every_wireshark_gets_a_link_and_made_folders_go(machine: Machine) -> None:
    # As Wireshark 4.6 says it; in a place where it has no folder yet.
    machine.shell(
        'printf \'#!/bin/sh\\necho "Personal Extcap path:\\t/root/x"\\n'
        'echo "Global Extcap path:\\t/usr/libexec/wireshark/extcap"\\n\' '
        ">/usr/local/bin/tshark && chmod +x /usr/local/bin/tshark"
    )
    assert machine.run(f"{CHECKOUT}/install.sh").returncode == 0
    link = "/usr/libexec/wireshark/extcap/tccap.py"
    assert links_into_the_copy(machine, "/usr/libexec") == [link]
    assert len(links_into_the_copy(machine, "/usr/lib/*/wireshark/extcap")) == 1
    assert machine.run(f"{CHECKOUT}/install.sh", "--uninstall").returncode == 0
    assert links_into_the_copy(machine, "/usr") == []
    assert "/usr/libexec/wireshark" not in machine.files("/usr/libexec")


def test_without_wireshark_it_says_so(machine: Machine) -> None:
    machine.shell("dpkg --remove tshark")
    result = machine.run(f"{CHECKOUT}/install.sh", "--no-wireshark")
    assert result.returncode == 0
    assert result.stderr == (
        "There is no Wireshark here: install it, then run install.sh again.\n"
    )
    check = machine.run("tccap", "check")
    assert re.search(r"^missing +Wireshark ", check.stdout, re.MULTILINE)


def test_a_command_of_that_name_is_not_overwritten(machine: Machine) -> None:
    command = "/usr/local/bin/tccap"
    machine.shell(f"rm {command} && echo mine >{command}")
    result = machine.run(f"{CHECKOUT}/install.sh")
    assert (result.returncode, result.stderr) == (
        1,
        (
            f"{command} is there and is not tccap's: "
            "move it away, then run install.sh again.\n"
        ),
    )
    assert machine.shell(f"cat {command}") == "mine\n"


@pytest.mark.parametrize(
    ("arguments", "user", "sentence"),
    [
        (
            "--bogus",
            "root",
            "install.sh does not know --bogus: see ./install.sh --help.",
        ),
        ("", "ada", "install.sh needs root: sudo ./install.sh."),
        ("--uninstall", "ada", "install.sh needs root: sudo ./install.sh."),
        (
            "--check",
            "root",
            "There is no /usr/bin/python3: sudo ./install.sh installs it.",
        ),
    ],
)
def test_errors_are_one_sentence(
    arguments: str, user: str, sentence: str, fresh_machine: Machine
) -> None:
    result = fresh_machine.run(
        "./install.sh", *arguments.split(), folder=CHECKOUT, user=user
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"{sentence}\n"


def test_help_names_every_option(fresh_machine: Machine) -> None:
    result = fresh_machine.run("./install.sh", "--help", folder=CHECKOUT, user="ada")
    assert (result.returncode, result.stderr) == (0, "")
    options = set(re.findall(r"--[a-z-]+", result.stdout))
    assert options == {"--no-wireshark", "--uninstall", "--check"}


def links_into_the_copy(machine: Machine, folder: str) -> list[str]:
    return machine.shell(f"find {folder} -lname '{TOP}/*'").splitlines()


def contents(machine: Machine) -> tuple[dict[str, str], str]:
    """Return what is installed; compiled files hold the time of their source."""
    sums = f"find {TOP} -type f ! -name '*.pyc' -exec sha256sum {{}} +"
    files = machine.files("/")
    kept = {path: facts for path, facts in files.items() if not is_cached(path)}
    return kept, machine.shell(sums)


def is_cached(path: str) -> bool:
    """Tell whether a path holds what was compiled: it is made where it lacks."""
    return path.startswith("/var/cache/tccap/")
