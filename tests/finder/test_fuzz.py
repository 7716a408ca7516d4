"""Damaged ELF files: an answer, never a crash or a hang."""

import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from finder import fuzz
from finder.builds import BUILDS
from finder.running import on_all_processors
from tccap.paths import TOP

COUNT = int(os.environ.get("TCCAP_FUZZ", "200"))
NAMES = (
    *("libssl3-bookworm", "libgnutls30-bookworm"),
    *("libnss3-bookworm-libssl3.so", "libnss3-bookworm-libsoftokn3.so"),
)
BATCH = min(100, COUNT // len(NAMES))
FIRST = int(os.environ.get("TCCAP_FUZZ_SEED", "0"))


def _batch(file: Path, first: int) -> str:
    """Run seeds in a process of their own; return what it printed."""
    with tempfile.TemporaryFile() as errors:
        done = subprocess.run(
            [sys.executable, "-m", "finder.fuzz", file, str(first), str(BATCH)],
            stdout=subprocess.PIPE,
            stderr=errors,
            check=False,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": f"{TOP}/src:{TOP}/tests",
                "OPENBLAS_NUM_THREADS": "1",
            },
        )
        errors.seek(0)
        text = errors.read().decode()
    assert done.returncode == 0, f"{file.name}, status {done.returncode}: {text}"
    return done.stdout.decode()


def test_damage_gives_answers() -> None:
    files = [build.file() for build in BUILDS if build.name in NAMES]
    assert len(files) == len(NAMES)
    starts = range(FIRST, FIRST + COUNT // len(files), BATCH)
    jobs = [(file, start) for start in starts for file in files]
    found: Counter[str] = Counter()
    for text in on_all_processors(_batch, *zip(*jobs, strict=True)):
        for line in text.splitlines():
            times, answer = line.strip().split(" ", 1)
            found[answer] += int(times)
    for answer, count in found.most_common():
        print(f"{count:8} {answer}")
    assert found.total() == len(jobs) * BATCH >= COUNT
    assert len(found) > 3  # the damage is of many kinds, and some files survive it
    assert found["found"]


def test_the_same_seed_does_the_same_damage() -> None:
    content = BUILDS[1].file().read_bytes()
    assert fuzz.mutated(content, 7) == fuzz.mutated(content, 7) != content
