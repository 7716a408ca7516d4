"""The README and other documents, compared with the code and files they describe."""

import re
import subprocess
import tomllib
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
FOLDERS = ("docs", "bpf", "tests")
PAGES = (
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    *(
        str(page.relative_to(TOP))
        for folder in FOLDERS
        for page in sorted(Path(TOP, folder).rglob("*.md"))
    ),
)
# Paths in the documents start from one of these, or from the document's own folder.
STARTS = ("", "src/tccap", "bpf", "tests")
# A word of a path: with a slash, or with the ending of a file; nothing absolute.
PATH = re.compile(
    r"[\w.*-]+/(?:[\w.*-]+/?)*|[\w-]+\.(?:c|h|lua|md|py|sh|toml|txt)", re.ASCII
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


def test_the_kernels_are_those_of_the_table() -> None:
    table = Path(TOP, "tests/vm/kernels.toml").read_text(encoding="utf-8")
    (named,) = re.findall(r"make test-vm +# on Linux (.*), in", TEXT)
    assert re.findall(r"[\d.]+", named) == [
        k["name"] for k in tomllib.loads(table)["kernel"]
    ]


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


@pytest.mark.parametrize("page", PAGES)
def test_paths_in_backticks_exist(page: str) -> None:
    text = Path(TOP, page).read_text(encoding="utf-8")
    code = re.findall(
        r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    )
    words = {word for words in code for word in words.split()}
    assert [w for w in sorted(words) if PATH.fullmatch(w) and not exists(w, page)] == []


@pytest.mark.parametrize("folder", ["bpf", "src"])
def test_paths_in_the_sources_exist(folder: str) -> None:
    own = re.compile(r"(?<![\w/.-])(?:bpf|docs|src/tccap|tests)/[\w/-]+\.\w+")
    named = {
        (path, str(file.relative_to(TOP)))
        for file in Path(TOP, folder).rglob("*.[chp]*")
        if file.suffix in (".c", ".h", ".py")
        for path in own.findall(file.read_text(encoding="utf-8"))
    }
    assert named
    assert [pair for pair in sorted(named) if not exists(*pair)] == []


def exists(path: str, page: str) -> bool:
    """Return whether a page names a file or folder; a bare name may be anywhere."""
    starts = (*STARTS, Path(page).parent)
    return any(any(Path(TOP, start).glob(path)) for start in starts) or (
        "/" not in path and any(any(Path(TOP, s).rglob(path)) for s in STARTS[1:])
    )


def test_the_architecture_names_every_folder() -> None:
    text = Path(TOP, "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `(\w+)/` \|", text, re.MULTILINE)
    folders = {
        path.parent.name for path in Path(TOP, "src/tccap").glob("*/__init__.py")
    }
    assert sorted(named) == sorted(folders)
