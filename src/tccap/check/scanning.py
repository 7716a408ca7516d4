"""`tccap tls scan [DIR...]`: learn the programs of this machine that speak TLS."""

from collections.abc import Iterator
from pathlib import Path

from tccap.errors import TccapError
from tccap.tls import scan
from tccap.tls.learned import FILES_MAX
from tccap.tls.sites import Inspection


def lines(folders: list[str]) -> Iterator[str]:
    """Examine folders; yield a line for each file that may speak TLS, and a count."""
    for folder in folders:
        if not Path(folder).is_dir():
            raise TccapError(f"{folder} is not a folder.")
    learned = 0
    for path, answer in scan.scan(folders or [*scan.FOLDERS]):
        learned += bool(answer.sites)
        yield f"{path}: {_text(answer)}"
    kept = f"{learned} files are probed from the start of every capture"
    more = f"; only the last {FILES_MAX} are kept" if learned > FILES_MAX else ""
    yield f"{kept}{more}."


def _text(answer: Inspection) -> str:
    return answer.library if answer.sites else f"refused: {answer.refusal}"
