"""Makes an HTML page beside each Markdown page, for browsers: ``make_html.py PAGE...``.

Wireshark's dialog opens the README's as its help. install.sh runs this in the copy that
it installs, with a package that nothing else needs.
"""

import html
import sys
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ max-width: 50em; margin: 2em auto; padding: 0 1em; font-family: sans-serif;
  line-height: 1.5; color: #222; background: #fff; }}
pre {{ overflow-x: auto; padding: 0.5em; background: #f4f4f4; line-height: 1.3; }}
table {{ border-collapse: collapse; }}
th, td {{ border: 1px solid #ccc; padding: 0.2em 0.5em; text-align: left; }}
img {{ max-width: 100%; }}
</style>
</head>
<body>
{body}</body>
</html>
"""


def main(pages: list[str]) -> None:
    """Write the HTML of each page beside it."""
    for path in map(Path, pages):
        text = page(path.read_text(encoding="utf-8"), path)
        path.with_suffix(".html").write_text(text, encoding="utf-8")


def page(text: str, path: Path) -> str:
    """Return a Markdown page as HTML; its links lead to the other HTML pages."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(text)
    for token in tokens:
        token.children = _linked(token.children or [], path.parent)
    title = next((t.content for t in tokens if t.type == "inline"), path.stem)
    body = markdown.renderer.render(tokens, markdown.options, {})
    return PAGE.format(title=html.escape(title), body=body)


def _linked(tokens: list[Token], folder: Path) -> list[Token]:
    """Return the parts of a paragraph without links to what is not there."""
    kept: list[Token] = []
    leads = True
    for token in tokens:
        if token.type == "link_open":
            target = str(token.attrs["href"])
            leads = "://" in target or (folder / target).exists()
            if leads and target.endswith(".md") and "://" not in target:
                token.attrs["href"] = target.removesuffix(".md") + ".html"
        if leads or not token.type.startswith("link_"):
            kept.append(token)
    return kept


if __name__ == "__main__":
    main(sys.argv[1:])
