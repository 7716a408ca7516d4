"""What the README says, where it can be compared with what it speaks of."""

import re
import subprocess
from pathlib import Path

import pytest

from tccap.front.options import OPTIONS, Option
from tccap.paths import README, TOP

TEXT = Path(README).read_text(encoding="utf-8")
LUA = Path(TOP, "wireshark", "tccap.lua").read_text(encoding="utf-8")
COMMANDS = (
    "sudo ./install.sh && sudo tshark -C tccap -i tccap-any -a duration:10",
    "sudo make test",
    "sudo make test-vm",
)
PAGES = (
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    *(str(page.relative_to(TOP)) for page in sorted(Path(TOP, "docs").rglob("*.md"))),
)


def table_line(option: Option) -> str:
    """Return the option's line of the table."""
    entry = option.entry
    default = f"`{str(option.default).lower()}`" if option.default != "" else ""
    values = ", ".join(f"`{value}`" for value, _ in entry.choices if value)
    if entry.limits:
        values = "{} to {}".format(*entry.limits)
    return f"| `{option.name}` | {entry.tooltip} | {values} | {default} |"


def test_the_table_of_options_is_that_of_the_program() -> None:
    written = re.findall(r"^\| `[a-z-]+` \| .* \| .* \| .* \|$", TEXT, re.MULTILINE)
    assert written == [table_line(option) for option in OPTIONS]


def test_the_fields_are_those_of_the_plugin() -> None:
    defined = set(re.findall(r'"(tccap\.[\w.]+)"', LUA))
    assert set(re.findall(r"^\| `(tccap\.[\w.]+)`", TEXT, re.MULTILINE)) == defined


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_are_there(command: str) -> None:
    assert re.search(rf"^ +{re.escape(command)}( +#.*)?$", TEXT, re.MULTILINE)


def test_the_commands_work_for_root_without_sudo() -> None:
    (line,) = re.findall(r"^ +(command -v sudo .*)$", TEXT, re.MULTILINE)
    script = f"{line}\nsudo echo a b"
    done = subprocess.run(
        ["/bin/sh", "-ec", script], env={"PATH": ""}, capture_output=True, check=True
    )
    assert done.stdout == b"a b\n"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    path = Path(TOP, page)
    links = re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8"))
    for link in links:
        assert link.startswith("https://") or (path.parent / link).exists(), link


def test_the_architecture_names_every_folder() -> None:
    text = Path(TOP, "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `(\w+)/` \|", text, re.MULTILINE)
    folders = {
        path.parent.name for path in Path(TOP, "src/tccap").glob("*/__init__.py")
    }
    assert sorted(named) == sorted(folders)
