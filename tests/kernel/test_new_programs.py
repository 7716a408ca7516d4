"""Programs that have ended long before the next scan of the processes are examined."""

import os
import subprocess
from pathlib import Path

import pytest

from support import running
from support.netns import Namespace
from tccap.tls.libraries import MARKERS

pytestmark = pytest.mark.full_matrix

RUNS = 20
# It may hold a TLS library, and makes no connection; it lives for some milliseconds.
_SOURCE = """
#include <unistd.h>
const char *volatile marker = "%s";
int main(int n, char **words) { return usleep(n > 1 ? 60000000 : 5000); }
"""


@pytest.fixture
def program(tmp_path: Path) -> bytes:
    built = tmp_path / "built"
    source = (_SOURCE % MARKERS[0].decode()).encode()
    command = ["gcc", "-x", "c", "-o", str(built), "-"]
    subprocess.run(command, input=source, check=True)
    return built.read_bytes()


def test_they_are_seen_when_they_begin(
    space: Namespace, program: bytes, tmp_path: Path
) -> None:
    files = [tmp_path / f"program{number}" for number in range(RUNS)]
    for file in files:
        file.write_bytes(program + os.urandom(16))
        file.chmod(0o755)
    last = tmp_path / "last"
    last.write_bytes(program + os.urandom(16))
    last.chmod(0o755)
    with running.engine(space, "lo", tls="own", begun='"tls_ready"') as engine:
        for file in files:
            subprocess.run([file], check=True)
        with running.started([str(last), "stays"]):
            engine.wait_for(str(last))
        engine.end()
    examined = {each.get("path") for each in engine.events()}
    # A scan meets one of a hundred. On a busy machine some have ended after the report.
    assert len({*map(str, files)} & examined) >= RUNS / 5
