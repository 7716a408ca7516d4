"""Which hierarchy says containers, on each kind of host, and what is in it."""

import os
from pathlib import Path

import pytest

from tccap.host import cgroups, mounts
from tccap.host.cgroups import Hierarchy

UNIFIED = "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "31 24 0:27 / /sys/fs/cgroup/pids rw shared:9 - cgroup cgroup rw,pids\n"
    "32 24 0:28 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n"
)
HYBRID = V1 + "33 24 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
FREEZER = UNIFIED + "34 24 0:30 / /run/freezer rw - cgroup cgroup rw,freezer\n"
INSIDE = "31 24 0:27 /docker/ab /sys/fs/cgroup/pids ro - cgroup cgroup rw,pids\n"
NAMESPACED = "30 24 0:26 /../.. /sys/fs/cgroup ro - cgroup2 cgroup rw\n"
HEADING = "#subsys_name\thierarchy\tnum_cgroups\tenabled\n"
IN_V1 = HEADING + "memory\t4\t1\t1\npids\t8\t1\t1\n"
IN_V2 = HEADING + "memory\t0\t1\t1\npids\t0\t1\t1\nfreezer\t3\t1\t1\n"


@pytest.mark.parametrize(
    ("controllers", "mounted", "expected"),
    [
        (IN_V2, UNIFIED, Hierarchy("/sys/fs/cgroup")),
        (IN_V2, FREEZER, Hierarchy("/sys/fs/cgroup")),
        (IN_V1, V1, Hierarchy("/sys/fs/cgroup/pids", "", "pids", 8)),
        (IN_V1, HYBRID, Hierarchy("/sys/fs/cgroup/pids", "", "pids", 8)),
        (IN_V1, INSIDE, Hierarchy("/sys/fs/cgroup/pids", "/docker/ab", "pids", 8)),
        (IN_V2, NAMESPACED, Hierarchy("/sys/fs/cgroup")),
        # ip-netns(8) hides what is mounted in /sys.
        (IN_V2, "", Hierarchy()),
        (IN_V1, "", Hierarchy("", "", "pids", 8)),
    ],
)
def test_the_hierarchy_that_names_containers(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    controllers: str,
    mounted: str,
    expected: Hierarchy,
) -> None:
    (tmp_path / "controllers").write_text(controllers)
    (tmp_path / "mounts").write_text(mounted)
    monkeypatch.setattr(cgroups, "_CONTROLLERS", tmp_path / "controllers")
    monkeypatch.setattr(mounts, "_MOUNTINFO", tmp_path / "mounts")
    assert cgroups.find() == expected


def test_a_walk_yields_numbers_and_paths(tmp_path: Path) -> None:
    inner = tmp_path / "a.slice" / "b.service"
    inner.mkdir(parents=True)
    (tmp_path / "cgroup.procs").touch()
    hierarchy = Hierarchy(str(tmp_path), "/docker/ab")
    assert dict(cgroups.walk(hierarchy)) == {
        tmp_path.stat().st_ino: "/docker/ab",
        inner.parent.stat().st_ino: "/docker/ab/a.slice",
        inner.stat().st_ino: "/docker/ab/a.slice/b.service",
    }
    number = inner.parent.stat().st_ino
    assert cgroups.exists(hierarchy, "/docker/ab/a.slice", number)
    assert not cgroups.exists(hierarchy, "/docker/ab/a.slice", number + 1)
    assert not cgroups.exists(hierarchy, "/docker/ab/c.slice", number)
    assert cgroups.exists(Hierarchy(), "/anything", number)
    assert list(cgroups.walk(Hierarchy())) == []


def test_who_may_make_cgroups_is_the_folders_owner(tmp_path: Path) -> None:
    delegated = tmp_path / "app.service"
    delegated.mkdir()
    os.chown(delegated, 1000, -1)
    hierarchy = Hierarchy(str(tmp_path), "/docker/ab")
    assert cgroups.owner(hierarchy, "/docker/ab/app.service") == 1000
    assert cgroups.owner(hierarchy, "/docker/ab") is None
    assert cgroups.owner(hierarchy, "/docker/ab/b.service") is None
    # A cgroup that is gone was below one that is not.
    assert cgroups.owner(hierarchy, "/docker/ab/app.service/gone/too") == 1000
    assert cgroups.owner(hierarchy, "/elsewhere") is None
    assert cgroups.owner(Hierarchy(), "/docker/ab/app.service") is None


def test_a_process_has_a_path() -> None:
    assert cgroups.path_of(os.getpid(), cgroups.find()).startswith("/")
    assert cgroups.path_of(os.getpid(), Hierarchy(number=999)) == ""
    assert cgroups.path_of(1 << 30, Hierarchy()) == ""


def test_a_cgroup_has_processes(tmp_path: Path) -> None:
    """0 is one of a PID namespace that is not below ours."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "cgroup.procs").write_text("12\n0\n34\n")
    hierarchy = Hierarchy(str(tmp_path), "/docker")
    assert cgroups.processes(hierarchy, "/docker/a") == [12, 34]
    assert cgroups.processes(hierarchy, "/docker/b") == []
    assert cgroups.processes(hierarchy, "/other/a") == []
    assert cgroups.processes(Hierarchy(), "/docker/a") == []
