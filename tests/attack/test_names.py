"""Names that users may choose, of cgroups and of folders in which they mount."""

import os
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from support import place, running
from tccap.host import cgroups

SRC = str(Path(cgroups.__file__).parents[2])
ENDS = ["\r", "\v", "\x1c", "\x85", "\u2028"]
READ = """
from tccap.host import cgroups, containernames
cgroups.find()
print(containernames._is_local("/home/x"))
"""


@pytest.mark.parametrize("end", ENDS)
def test_no_name_of_a_cgroup_leads_into_another_one(
    end: str, counted: Counter[str]
) -> None:
    hierarchy = cgroups.opened(cgroups.find())
    name = f"a{end}{hierarchy.number}:{hierarchy.controller}:"
    with place.cgroup(f"/tccap-test-{os.getpid()}/{name}/docker") as folder:
        pid = place.start(folder, signal.pause)
        try:
            procs = folder / "cgroup.procs"
            running.until(lambda: procs.read_text().strip(), "its process")
            expected = str(folder).removeprefix(hierarchy.folder)
            assert cgroups.path_of(pid, hierarchy) == expected
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    counted["by names of cgroups"] += 1


@pytest.mark.parametrize("end", [*ENDS, "\xa0", "\f"])
def test_no_folder_of_a_mount_stops_an_engine(
    end: str, tmp_path: Path, counted: Counter[str]
) -> None:
    """With FUSE a user may mount; the kernel writes all mounts of /proc/self alike."""
    folder = tmp_path / f"x{end}"
    folder.mkdir()
    script = 'mount -t tmpfs none "$1" && shift && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", folder, *running.python(READ)],
        env={**os.environ, "PYTHONPATH": SRC},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    counted["by folders of mounts"] += 1
