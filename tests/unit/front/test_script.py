"""What extcap/tccap.py does before it has imported anything of the package."""

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tccap.paths import SCRIPT

INTERRUPTED = """
import os, signal, sys
os.kill(os.getpid(), signal.SIGINT)
sys.stdout.write("went on")
def main():
    return 0
"""


def _run(folder: Path, main: str, *prefix: str) -> "subprocess.CompletedProcess[str]":
    """Run the script beside a package of our own."""
    for name in ("extcap", "src/tccap"):
        (folder / name).mkdir(parents=True)
    script = shutil.copy(SCRIPT, folder / "extcap")
    (folder / "src" / "tccap" / "main.py").write_text(main)
    return subprocess.run(
        [*prefix, script], check=False, capture_output=True, text=True
    )


def _with_sigint(disposition: str) -> tuple[str, ...]:
    return ("env", f"--{disposition}-signal=INT")


def test_a_control_c_during_the_imports_is_silent(tmp_path: Path) -> None:
    done = _run(tmp_path, INTERRUPTED, *_with_sigint("default"))
    assert (done.stdout, done.stderr) == ("", "")
    assert done.returncode == -signal.SIGINT


def test_a_control_c_that_was_ignored_stays_ignored(tmp_path: Path) -> None:
    done = _run(tmp_path, INTERRUPTED, *_with_sigint("ignore"))
    assert (done.stdout, done.stderr, done.returncode) == ("went on", "", 0)


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_a_person_gets_an_answer(word: str) -> None:
    done = subprocess.run([SCRIPT, word], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("tccap ")
    assert done.stderr == ""
