"""install.sh and what it leaves, on fresh machines, as a stranger would use it."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from install.machine import CHECKOUT, PATH, TOP, USERS, Machine

pytestmark = pytest.mark.timeout(600)  # the first test installs packages

EXTCAP = f"{TOP}/extcap/tccap.py"
SHORT_CALLS = (
    "--extcap-interfaces --extcap-version=4.0",
    "--extcap-config --extcap-interface tccap-any",
    "--extcap-dlts --extcap-interface tccap-lo",
)
# What a user's shell may hold and tccap must ignore.
HOSTILE = {
    "PATH": f"/opt/other:{PATH}",
    "BCC_KERNEL_SOURCE": "/nonsense",
    "PYTHONPATH": "/nonsense",
    "PYTHONHOME": "/nonsense",
    "PIP_CONFIG_FILE": "/opt/other/pip.conf",
    "PIP_REQUIRE_VIRTUALENV": "nonsense",
    "XDG_CONFIG_DIRS": "/opt/other",
    "APT_CONFIG": "/opt/other/apt.conf",
    **dict.fromkeys(("top", "new", "here", "links", "variable"), "/nonsense"),
}
FAKE_PYTHON = """
mkdir -p /opt/other/pip
printf '[global]\nno-such-option = nonsense\nindex-url = nonsense\nquiet = x\n' \
    >/opt/other/pip.conf
cp /opt/other/pip.conf /opt/other/pip/pip.conf
cp /opt/other/pip.conf /root/.pip.conf
echo nonsense >/opt/other/apt.conf
printf '#!/bin/sh\necho this is another python >&2\nexit 3\n' >/opt/other/python3
chmod +x /opt/other/python3
"""
MADE_BY_PACKAGES = (
    r"/var/(lib/(dpkg|apt|python)|cache|log)(/|$)|/etc/|.*/__pycache__(/|$)"
    r"|/usr/local/lib/python3\.\d+(/dist-packages)?$"
)
# The sender goes on until tshark has ended, and with it the namespace. The number of
# packets ends it: how many seconds a capture takes to start depends on the machine.
CAPTURE_WITH_TRAFFIC = """
/usr/bin/python3 -Ic '
import socket, time
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    sender.sendto(b"hello", ("127.0.0.1", 9))
    time.sleep(0.02)
' &
tshark -C tccap -i tccap-any -a duration:100 -c 40
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
    shown = machine.run("tshark", "-D", user="ada")
    for interface in ("tccap-any", "tccap-lo"):
        assert f"{interface} (eBPF TC (pid-aware))" in shown.stdout


def test_the_fields_of_processes_are_there(machine: Machine) -> None:
    for user in USERS:
        fields = machine.run("tshark", "-G", "fields", user=user).stdout
        assert "\ttccap.pid\t" in fields, user


def test_the_profile_has_columns_buttons_and_colours(machine: Machine) -> None:
    for user, home in (("root", "/root"), ("ada", "/home/ada")):
        # Wireshark and tshark copy a global profile to those of the user.
        shown = machine.run("tshark", "-C", "tccap", "-D", user=user)
        assert shown.returncode == 0, shown.stderr
        copy = f"{home}/.config/wireshark/profiles/tccap"
        columns = machine.shell(f"cat {copy}/preferences")
        assert '"Process", "%Cus:tccap.comm:0:R"' in columns
        copied = machine.shell(f"ls {copy}").split()
        assert {"colorfilters", "dfilter_buttons", "profile_settings"} < set(copied)


def test_help_is_a_page_for_browsers(machine: Machine) -> None:
    (link,) = links_into_the_copy(machine, "/usr/lib/*/wireshark/extcap")
    answer = machine.run(link, "--extcap-interfaces", user="ada").stdout
    page = f"{TOP}/README.html"
    assert f"{{help=file://{page}}}" in answer
    shown = machine.run("cat", page, f"{TOP}/docs/filters.html", user="ada").stdout
    assert shown.count("<!DOCTYPE html>") == 2
    assert machine.shell(f"find {TOP}/venv -name '*.html'") == ""


def test_without_sudo_an_ordinary_user_is_told(machine: Machine) -> None:
    result = machine.run("tshark", "-i", "tccap-any", "-a", "duration:5", user="ada")
    assert "Capturing needs root where there is no sudo: start" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", ["tccap check", f"{CHECKOUT}/install.sh --check"])
def test_check_finds_nothing_missing(command: str, machine: Machine) -> None:
    result = machine.run(*command.split())
    assert "missing" not in result.stdout
    assert result.stdout.endswith("A capture will work: tshark -C tccap -i tccap-any\n")
    assert (result.returncode, result.stderr) == (0, "")


def test_check_names_what_an_ordinary_user_cannot_try(machine: Machine) -> None:
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


VERSION = "import importlib.metadata as m; print(m.version('python-pcapng'))"
OTHER_VERSION = f"""
cd {TOP}/venv/lib/python3*/site-packages
mv python_pcapng-*.dist-info python_pcapng-99.0.dist-info
sed -i 's/^Version: .*/Version: 99.0/' python_pcapng-99.0.dist-info/METADATA
"""
STAFF = "groupadd -f --system staff; chgrp staff {}; chmod 2775 {};"
OF_STAFF = ("/usr/local", "/usr/local/bin", "/usr/local/lib")
PLANTED = "/var/cache/tccap/bpf/planted"
# As Wireshark 4.6 says it; in a place where it has no folder yet.
OTHER_TSHARK = """
cat >/usr/local/bin/tshark <<'END'
#!/bin/sh
printf 'Personal Extcap path:\\t/root/x\\n'
printf 'Global configuration:\\t/opt/share/wireshark\\n'
printf 'Global Extcap path:\\t/usr/libexec/wireshark/extcap\\n'
END
chmod +x /usr/local/bin/tshark
"""


class Updated(NamedTuple):
    """A machine where install.sh was run again, and what differed before."""

    machine: Machine
    pinned: str  # the version of python-pcapng that the checkout wants
    stderr: str


@pytest.fixture(scope="module")
def updated(installed_machine: Machine, folder: Path) -> Updated:
    """Run install.sh again, where much is not as it has left it."""
    machine = installed_machine.another(folder / "updated")
    python = f"{TOP}/venv/bin/python3"
    pinned = machine.run(python, "-Ic", VERSION).stdout
    machine.shell(OTHER_VERSION)
    assert machine.run(python, "-Ic", VERSION).stdout == "99.0\n"
    machine.shell(STAFF.format(*[" ".join(OF_STAFF)] * 2))
    assert machine.run("tccap", "check").returncode == 0
    machine.shell(f"touch {PLANTED}; chmod 777 /var/cache/tccap")
    machine.shell(OTHER_TSHARK)
    result = machine.run(f"{CHECKOUT}/install.sh", network=True, timeout_s=300)
    assert result.returncode == 0, result.stderr
    return Updated(machine, pinned, result.stderr)


def test_a_second_run_updates_to_the_version_of_the_checkout(updated: Updated) -> None:
    python = f"{TOP}/venv/bin/python3"
    assert updated.machine.run(python, "-Ic", VERSION).stdout == updated.pinned


def test_an_empty_group_that_could_replace_it_is_named(updated: Updated) -> None:
    assert sorted(updated.stderr.splitlines()) == [
        "Members of the group staff, which has none now, could write "
        f"{folder} and so replace what root runs there: sudo chmod g-w {folder}"
        for folder in OF_STAFF
    ]


def test_a_cache_that_others_could_write_is_made_anew(updated: Updated) -> None:
    files = updated.machine.files("/var/cache/tccap")
    assert PLANTED not in files
    assert {facts.split()[1] for facts in files.values()} <= {"700", "600"}
    assert len(files) > 2


def test_every_wireshark_gets_a_link_and_made_folders_go(
    updated: Updated, tmp_path: Path
) -> None:
    machine = updated.machine.another(tmp_path / "machine")
    link = "/usr/libexec/wireshark/extcap/tccap.py"
    assert links_into_the_copy(machine, "/usr/libexec") == [link]
    profile = "/opt/share/wireshark/profiles/tccap"
    assert links_into_the_copy(machine, "/opt") == [profile]
    assert len(links_into_the_copy(machine, "/usr/lib/*/wireshark/extcap")) == 1
    assert machine.run(f"{CHECKOUT}/install.sh", "--uninstall").returncode == 0
    assert links_into_the_copy(machine, "/usr /opt") == []
    assert "/usr/libexec/wireshark" not in machine.files("/usr/libexec")
    assert "/opt/share" not in machine.files("/opt")


def test_a_package_with_another_hash_is_refused(machine: Machine) -> None:
    machine.shell(
        f"rm -r {TOP}/venv;"
        f"sed -i 's/sha256:.\\{{8\\}}/sha256:00000000/' {CHECKOUT}/requirements/*.txt"
    )
    before = listing(machine)
    result = machine.run(f"{CHECKOUT}/install.sh", network=True, timeout_s=300)
    assert result.returncode == 1
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in result.stderr
    assert result.stderr.endswith(
        "pip could not install python-pcapng: see the lines above.\n"
    )
    assert listing(machine) == before


@pytest.mark.parametrize(
    ("make", "named"),
    [
        ("mv src /home/ada/src; ln -s /home/ada/src src", "src"),
        ("ln -sf ../README.md docs/README.md", "docs/README.md"),
        ("mv LICENSE /home/ada/; ln -s /nowhere LICENSE", "LICENSE"),
        ("mkfifo extcap/fifo", "extcap/fifo"),
    ],
    ids=["folder", "inside", "dangling", "fifo"],
)
def test_links_of_the_checkout_are_not_copied(
    machine: Machine, make: str, named: str
) -> None:
    machine.shell(f"cd {CHECKOUT}; {make}")
    before = listing(machine)
    result = machine.run(f"{CHECKOUT}/install.sh")
    assert (result.returncode, result.stderr) == (
        1,
        (
            f"{CHECKOUT}/{named} is not an ordinary file, and root copies no links: "
            "put the file itself there, then run install.sh again.\n"
        ),
    )
    assert listing(machine) == before


WIRESHARK = "/usr/lib/*/wireshark"


@pytest.mark.parametrize(
    ("change", "where", "who", "mend"),
    [
        (
            "chmod 777 {}",
            "/usr/local/lib",
            "All users can write {} and so",
            "chmod o-w",
        ),
        ("chmod 1777 {}", "/usr/local", "All users can write {} and so", "chmod o-w"),
        ("chmod o+w {}", WIRESHARK, "All users can write {} and so", "chmod o-w"),
        (
            "chown ada {}",
            "/usr/local/bin",
            "{} belongs to ada, who could",
            "chown root",
        ),
        (
            "mv /usr/local {}/local; ln -s {}/local /usr/local",
            *("/home/ada", "{} belongs to ada, who could", "chown root"),
        ),
        (
            STAFF + "usermod -aG staff ada",
            *("/usr/local", "The group staff (ada) can write {} and so", "chmod g-w"),
        ),
        (
            STAFF + "usermod -g staff ada",
            *("/var/cache", "The group staff (ada) can write {} and so", "chmod g-w"),
        ),
    ],
    ids=["all", "sticky", "wireshark", "owner", "link", "members", "first group"],
)
def test_it_is_not_installed_where_others_can_replace_it(
    machine: Machine, change: str, where: str, who: str, mend: str
) -> None:
    folder = machine.shell(f"echo {where}").strip()
    machine.shell(change.format(folder, folder))
    before = listing(machine)
    result = machine.run(f"{CHECKOUT}/install.sh")
    assert (result.returncode, result.stderr) == (
        1,
        (
            f"{who.format(folder)} replace what root runs there: "
            f"sudo {mend} {folder}, then run install.sh again.\n"
        ),
    )
    assert listing(machine) == before


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
    """Return whether packages make such files when they are installed."""
    return re.match(MADE_BY_PACKAGES, path) is not None


def test_uninstall_without_an_install_is_no_error(fresh_machine: Machine) -> None:
    result = fresh_machine.run("./install.sh", "--uninstall", folder=CHECKOUT)
    assert (result.returncode, result.stderr) == (0, "")


def test_without_wireshark_it_says_so_unless_none_is_wanted(machine: Machine) -> None:
    machine.shell("dpkg --remove tshark")
    result = machine.run(f"{CHECKOUT}/install.sh", "--no-wireshark")
    assert (result.returncode, result.stderr) == (0, "")
    assert "Wireshark" not in result.stdout
    check = machine.run("tccap", "check")
    assert re.search(r"^note +Wireshark ", check.stdout, re.MULTILINE)
    assert check.stdout.endswith("A capture will work: tccap -i any -w FILE.pcapng\n")
    assert check.returncode == 0
    check_wireshark_comes_later_and_its_help_is_text(machine)


def check_wireshark_comes_later_and_its_help_is_text(machine: Machine) -> None:
    """Without the package that makes pages of it."""
    machine.shell(
        f"rm -r {TOP}/venv/lib/python3*/site-packages/markdown_it*;"
        f"cd {CHECKOUT}/requirements;"
        "sed -i 's/sha256:.\\{8\\}/sha256:00000000/' help.txt"
    )
    result = machine.run(f"{CHECKOUT}/install.sh", network=True, timeout_s=300)
    assert result.returncode == 0
    assert "Installing tshark" in result.stdout
    assert result.stderr.endswith(
        "pip could not install markdown-it-py: the help in Wireshark's dialog is not "
        "shown as a web page.\n"
    )
    answer = machine.run(f"{TOP}/extcap/tccap.py", "--extcap-interfaces").stdout
    assert f"{{help=file://{TOP}/README.md}}" in answer


@pytest.mark.parametrize(
    "mine", ["echo mine >", "echo mine >/opt/mine; ln -s /opt/mine "]
)
@pytest.mark.parametrize(
    "place", ["/usr/local/bin/tccap", f"{WIRESHARK}/extcap/tccap.py"]
)
def test_a_file_or_link_of_that_name_is_not_overwritten(
    machine: Machine, place: str, mine: str
) -> None:
    command = machine.shell(f"echo {place}").strip()
    machine.shell(f"rm {command}; {mine}{command}")
    before = listing(machine)
    result = machine.run(f"{CHECKOUT}/install.sh")
    assert (result.returncode, result.stderr) == (
        1,
        (
            f"{command} is there and is not tccap's: "
            "move it away, then run install.sh again.\n"
        ),
    )
    assert machine.shell(f"cat {command}") == "mine\n"
    assert listing(machine) == before


def test_a_dangling_link_of_that_name_is_not_overwritten(machine: Machine) -> None:
    machine.shell("ln -sfn /nowhere /usr/local/bin/tccap")
    assert machine.run(f"{CHECKOUT}/install.sh").returncode == 1
    assert machine.shell("readlink /usr/local/bin/tccap") == "/nowhere\n"


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


def listing(machine: Machine) -> dict[str, str]:
    """Return what an installation could have changed."""
    return machine.files("/usr/local", "/usr/lib/*/wireshark", "/etc", "/var/cache")


def is_cached(path: str) -> bool:
    """Return whether a path is in the cache, which each capture can fill."""
    return path.startswith("/var/cache/tccap/")
