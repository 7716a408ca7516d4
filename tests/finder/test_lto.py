"""Key logs that compilers have merged into their callers, in part or as a whole."""

import os
import subprocess
from pathlib import Path

import pytest

from finder import ltoprograms
from finder.ltoprograms import KINDS, Shape
from support import uprobe
from tccap.tls.inspector import Inspector

CASES = int(os.environ.get("TCCAP_LTO_CASES", "1"))
# The first program of each kind but this one is understood; others may be refused.
MAY_BE_REFUSED = ("callers, one test",)


@pytest.mark.parametrize("seed", range(CASES))
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_is_what_the_program_has(
    tmp_path: Path, kind: str, seed: int
) -> None:
    """The program has set no callback; it says what its secrets are."""
    program = ltoprograms.build(Shape(kind, seed), tmp_path)
    with Inspector() as inspector, program.open("rb") as opened:
        found = inspector.inspect(opened.fileno())
    if found.refusal and (seed or kind in MAY_BE_REFUSED):
        return
    assert not found.refusal
    with (
        uprobe.reading(program, found) as reader,
        subprocess.Popen([program], stdout=subprocess.PIPE) as process,
    ):
        output, _ = process.communicate()
        read = reader.lines(process.pid)
    assert process.returncode == 0
    assert sorted(read) == ltoprograms.logged(output)
