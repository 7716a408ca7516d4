"""docs/make_html.py: the help in Wireshark's dialog, as a browser shows it."""

import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tccap.paths import TOP

PARTS = ("README.md", "ARCHITECTURE.md", "LICENSE", "docs", "bpf")


class Links(HTMLParser):
    """Collects where the links and pictures of a page lead, and its elements."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[str] = []
        self.elements: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.found += [value or "" for name, value in attrs if name in ("href", "src")]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documents as install.sh copies them, with their HTML pages."""
    copy = tmp_path_factory.mktemp("copy")
    for part in PARTS:
        source = Path(TOP, part)
        make = shutil.copytree if source.is_dir() else shutil.copyfile
        make(source, copy / part)
    script = str(copy / "docs" / "make_html.py")
    pages = map(str, copy.rglob("*.md"))
    subprocess.run([sys.executable, "-I", script, *pages], check=True)
    return copy


def test_every_page_has_one(copy: Path) -> None:
    pages = {path.with_suffix("") for path in copy.rglob("*.md")}
    assert {path.with_suffix("") for path in copy.rglob("*.html")} == pages
    assert copy / "docs" / "limitations" in pages


def test_links_and_pictures_lead_somewhere(copy: Path) -> None:
    for page in copy.rglob("*.html"):
        for target in Links(page).found:
            assert target.startswith("https://") or (page.parent / target).exists()
            assert not target.endswith(".md"), f"{page}: {target}"


def test_the_readme_has_its_tables_and_pictures(copy: Path) -> None:
    page = Links(copy / "README.html")
    assert {"h1", "table", "img", "pre"} <= page.elements
    assert "docs/limitations.html" in page.found


def test_what_is_not_copied_is_named_without_a_link(copy: Path) -> None:
    assert "CONTRIBUTING.md" not in Links(copy / "ARCHITECTURE.html").found
    text = (copy / "ARCHITECTURE.html").read_text(encoding="utf-8")
    assert "CONTRIBUTING.md" in text
