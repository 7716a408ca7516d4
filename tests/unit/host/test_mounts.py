"""Mounts, as the kernel writes them, wherever a user may have put one."""

from pathlib import Path

import pytest

from tccap.host import mounts
from tccap.host.mounts import Mount

ORDINARY = "30 24 0:26 /a\\040b /sys/fs/cgroup rw shared:9 - cgroup2 none rw,nsdelegate"


@pytest.fixture
def mountinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(mounts, "_MOUNTINFO", tmp_path / "mountinfo")
    return tmp_path / "mountinfo"


def test_what_is_mounted_where(mountinfo: Path) -> None:
    mountinfo.write_text(f"{ORDINARY}\n")
    options = ["rw", "nsdelegate"]
    [found] = mounts.read()
    assert found == Mount("/a b", "/sys/fs/cgroup", "cgroup2", options)


def test_this_process_sees_a_root() -> None:
    assert "/" in {mount.folder for mount in mounts.read()}


@pytest.mark.parametrize("odd", ["\r", "\v", "\f", "\x1c", "\x85", "\xa0", "\u2028"])
def test_odd_names_do_not_hide_what_comes_behind(mountinfo: Path, odd: str) -> None:
    line = f"31 24 0:27 / /home/ada/{odd}x{odd} rw - fuse.ada s rw"
    mountinfo.write_bytes(f"{line}\n{ORDINARY}\n".encode())
    of_user, ordinary = mounts.read()
    assert of_user.kind == "fuse.ada"
    assert of_user.folder.encode(errors="surrogateescape").decode().count(odd) == 2
    assert ordinary.folder == "/sys/fs/cgroup"


def test_bytes_that_are_no_text_are_kept(mountinfo: Path) -> None:
    mountinfo.write_bytes(b"31 24 0:27 / /\xff rw - fuse.ada  rw\n")
    [found] = mounts.read()
    assert found == Mount("/", "/\udcff", "fuse.ada", ["rw"])
