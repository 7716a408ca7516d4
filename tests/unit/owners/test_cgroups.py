"""What the engine enters about cgroups, for whom, and when."""

import json
import math
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tccap.host import allowance
from tccap.host import cgroups as hierarchies
from tccap.host.access import ALL, OWN, Caller
from tccap.host.cgrouppath import Place
from tccap.host.cgroups import Hierarchy
from tccap.host.containernames import Files, Names
from tccap.ipc import status
from tccap.owners import cgroups
from tccap.owners.cgroups import Cgroups, Chosen
from tccap.stream import abi
from unit.host.test_containernames import DOCKER, write
from unit.owners.test_processes import Written

ID = "0123456789abcdef" * 4
CONFIG = f"/var/lib/docker/containers/{ID}/config.v2.json"
CHOSEN = Chosen({"container": ("web*",)}, (("unit", "*"), ("container", "web")))
NAMED = b" container=0123456789ab container_name=web"
UNNAMED = b" container=0123456789ab"
ROOT, MEMBER = Caller(0, 0, ALL, ALL, 0), Caller(1000, 1000, OWN, OWN, 1000)


class Full(Written):
    """A map with room for two entries."""

    def __setitem__(self, key: tuple[int, ...], value: Any) -> None:
        if key not in self and len(self) == 2:
            raise OSError
        super().__setitem__(key, value)


class Host:
    """Cgroups and files in folders, and the kernel's table."""

    def __init__(self, folder: Path, table: Written) -> None:
        self.folder = folder / "cgroup"
        self.folder.mkdir()
        self.files = folder / "files"
        self.table = table
        self._ends = os.pipe()
        tables = {"cgroup_labels": table, "cgroup_events": _ring(self._ends[0])}
        self._collection: Any = SimpleNamespace(
            table=tables.__getitem__,
            fill=lambda *_: None,
            invalidate_lookups=lambda: None,
        )

    def learned(
        self, caller: Caller, files: Files | None = None, chosen: Chosen = CHOSEN
    ) -> Cgroups:
        hierarchy, files = Hierarchy(str(self.folder)), files or Files(str(self.files))
        made = Cgroups(self._collection, hierarchy, caller, chosen, files)
        made.learn_all()
        return made

    def entry_of(self, path: str) -> tuple[Any, ...]:
        """Return matches, chosen and text."""
        entry = self.table[(self.folder / path).stat().st_ino,]
        return entry[0], entry[1], entry[5]

    def close(self) -> None:
        for end in self._ends:
            os.close(end)


def _ring(fd: int) -> SimpleNamespace:
    return SimpleNamespace(fd=fd)


@pytest.fixture(params=[Written])
def host(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Host]:
    made = Host(tmp_path, request.param())
    (made.folder / "docker" / ID).mkdir(parents=True)
    yield made
    made.close()


def test_root_gets_names_and_a_member_gets_ids(host: Host) -> None:
    write(host.files, CONFIG, DOCKER)
    host.learned(ROOT).close()
    assert host.entry_of(f"docker/{ID}") == (2, True, NAMED)
    assert host.entry_of("docker") == (0, False, b"")
    host.learned(MEMBER).close()
    assert host.entry_of(f"docker/{ID}") == (0, False, UNNAMED)


def test_units_are_told_to_everybody(host: Host) -> None:
    (host.folder / "web.service").mkdir()
    host.learned(MEMBER).close()
    assert host.entry_of("web.service") == (1, False, b" unit=web.service")


def test_a_name_that_appears_later_is_entered(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "LATER_S", (0.0,))
    made = host.learned(ROOT)
    assert host.entry_of(f"docker/{ID}") == (0, False, UNNAMED)
    write(host.files, CONFIG, DOCKER)
    made._look_again()
    assert host.entry_of(f"docker/{ID}") == (2, True, NAMED)
    assert not made._unnamed
    made.close()


def test_a_name_is_the_latest_containers_alone(host: Host) -> None:
    """The one that had it before was renamed, or is removed: then it keeps its name."""
    write(host.files, CONFIG, DOCKER)
    made = host.learned(ROOT)
    for number, before in (("1" * 64, ID), ("2" * 64, "1" * 64)):
        renamed = json.dumps({"ID": before, "Name": f"/before-{number[0]}"})
        write(host.files, CONFIG.replace(ID, before), renamed)
        write(host.files, CONFIG.replace(ID, number), DOCKER)
        (host.folder / "docker" / number).mkdir()
        made.learn_all()
    texts = [host.entry_of(f"docker/{n}")[2] for n in (ID, "1" * 64, "2" * 64)]
    names = [text.rpartition(b"=")[2] for text in texts]
    assert names == [b"before-1", b"before-2", b"web"]
    (host.files / CONFIG.replace(ID, "2" * 64)[1:]).unlink()
    write(host.files, CONFIG.replace(ID, "3" * 64), DOCKER)
    (host.folder / "docker" / ("3" * 64)).mkdir()
    made.learn_all()
    for digit in "23":
        assert host.entry_of(f"docker/{digit * 64}")[2].endswith(b"=web")
    made.close()


def test_a_user_cannot_take_the_name_of_a_container_of_root(
    host: Host,
) -> None:
    """Nor have the files of root's be read again."""
    files = Costly(0.0, "web")
    made = host.learned(ROOT, files)
    delegated = host.folder / "app.service"
    (delegated / f"docker-{'1' * 64}.scope").mkdir(parents=True)
    os.chown(delegated, 1000, -1)
    made.learn_all()
    assert [place.container for place in files.read].count(ID) == 1
    assert host.entry_of(f"docker/{ID}") == (2, True, NAMED)
    made.close()


def test_a_name_that_never_appears_is_given_up(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "LATER_S", (0.0, 0.0))
    made = host.learned(ROOT)
    for _ in range(2):
        assert made._unnamed
        made._look_again()
    assert not made._unnamed
    made.close()


def test_removed_cgroups_are_forgotten_after_a_while(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And of a container that was started again the first one."""
    monkeypatch.setattr(cgroups, "SWEEP_S", 0.0)
    container, aside = host.folder / "docker" / ID, host.folder.with_name("aside")
    made, before = host.learned(ROOT), container.stat().st_ino
    container.rename(aside)
    container.mkdir()
    made.learn_all()
    assert len(host.table) == len(made._known) == 4
    made._sweep()
    assert (before,) in host.table  # its processes' last packets may come
    made._sweep()
    assert (before,) not in host.table
    assert host.entry_of(f"docker/{ID}") == (0, False, UNNAMED)
    assert len(host.table) == len(made._known) == len(made._described) == 3
    assert made._sweep_due == math.inf
    made.close()


@pytest.mark.parametrize("host", [Full], indirect=True)
def test_removed_cgroups_make_room(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(status, "log", lambda _, text: said.append(text))
    made = host.learned(ROOT)  # the root, docker, and the container: one too many
    assert said == [cgroups._FULL]
    assert len(made._known) == len(host.table) == 2
    (host.folder / "docker" / ID).rmdir()
    (host.folder / "docker").rmdir()
    (host.folder / "web.service").mkdir()
    made.learn_all()
    assert host.entry_of("web.service") == (1, False, b" unit=web.service")
    made.close()


class Costly(Files):
    """Files that take as long to read as a user can make it."""

    def __init__(self, seconds: float, users: str = "") -> None:
        super().__init__("/nowhere")
        self.read: list[Place] = []
        self._seconds = seconds
        self._users = users  # what a user's containers are called; empty: by their ids

    def names(self, place: Place) -> Names:
        self.read.append(place)
        time.sleep(self._seconds)
        users = self._users or place.container
        return Names(name="web" if place.owner is None else users)


def test_a_users_files_take_no_more_than_a_share_of_the_time(host: Host) -> None:
    """However many cgroups the user has; those of others have their names."""
    delegated = host.folder / "app.service"
    for number in range(100):
        (delegated / f"{number:064x}").mkdir(parents=True)
    os.chown(delegated, 1000, -1)
    files = Costly(allowance.MOST_S / 4)
    made = host.learned(ROOT, files)
    read = Counter(place.owner for place in files.read if place.container)
    assert 0 < read[1000] <= 5
    assert read[None] == 1
    assert host.entry_of(f"docker/{ID}") == (2, True, NAMED)
    assert len(made._unnamed) == 100 - read[1000]
    assert min(each.due for each in made._unnamed.values()) > time.monotonic()
    made.close()


def test_no_user_takes_all_room(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does the root of a container; and what is removed makes room."""
    said: list[str] = []
    monkeypatch.setattr(status, "log", lambda _, text: said.append(text))
    monkeypatch.setattr(abi, "CGROUPS", 40)
    monkeypatch.setattr(cgroups, "SWEEP_S", 0.0)
    delegated, box = host.folder / "app.service", host.folder / "docker" / ID
    for number in range(50):
        (delegated / "a" / f"{number:064x}").mkdir(parents=True)
        (box / f"inner-{number}").mkdir()
    os.chown(delegated, 1000, -1)
    os.chown(delegated / "a", 1000, -1)
    made = host.learned(ROOT)
    (host.folder / "web.service").mkdir()
    made.learn_all()
    assert host.entry_of("web.service") == (1, False, b" unit=web.service")
    assert said == [cgroups._TOO_MANY]
    assert len(host.table) == len(made._known) < 40
    shutil.rmtree(delegated)
    shutil.rmtree(box)
    for _ in range(2):
        made._sweep()
    assert len(host.table) == len(made._known) == len(made._whose) == 3
    assert made._room.has_room(None)
    made.close()


def test_names_of_root_cannot_be_borrowed_in_a_users_cgroup(host: Host) -> None:
    """Such as a service with Delegate= that runs as a user."""
    write(host.files, CONFIG, DOCKER)
    delegated = host.folder / "app.service"
    (delegated / f"docker-{ID}.scope").mkdir(parents=True)
    os.chown(delegated, 1000, -1)
    host.learned(ROOT).close()
    entry = host.entry_of(f"app.service/docker-{ID}.scope")
    assert entry == (1, False, UNNAMED + b" unit=app.service")
    assert host.entry_of(f"docker/{ID}") == (2, True, NAMED)


@pytest.mark.parametrize("host", [Full], indirect=True)
def test_a_full_table_is_not_searched_for_each_cgroup(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def exists(*_: object) -> bool:
        asked.append(1)
        time.sleep(allowance.MOST_S / 4)
        return True

    monkeypatch.setattr(hierarchies, "exists", exists)
    for number in range(30):
        (host.folder / f"{number}").mkdir()
    host.learned(ROOT).close()
    assert len(asked) <= 9


def test_cgroups_without_a_path_are_sought_when_there_is_time(host: Host) -> None:
    made = host.learned(ROOT)
    (host.folder / "late.service").mkdir()
    number = (host.folder / "late.service").stat().st_ino
    made._lacking.add(number)
    made._walking._left_s = -1.0
    assert made._found_by_walking() == {}
    made._walking._left_s = 1.0
    assert made._found_by_walking() == {number: "/late.service"}
    assert not made._lacking
    made.close()


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (Chosen({"container": ("web",)}, (("unit", "*"),)), {12}),
        (Chosen({}, (("unit", "*"), ("container", "other"))), {34}),
        (Chosen({}, (("unit", "*"), ("container", "web"))), {12, 34}),
    ],
)
def test_processes_are_chosen_by_options_or_else_by_words(
    host: Host, chosen: Chosen, expected: set[int]
) -> None:
    write(host.files, CONFIG, DOCKER)
    (host.folder / "web.service").mkdir()
    for folder, pid in ((f"docker/{ID}", 12), ("web.service", 34), ("docker", 56)):
        (host.folder / folder / "cgroup.procs").write_text(f"{pid}\n")
    made = host.learned(ROOT, chosen=chosen)
    assert {each.pid for each in made.chosen_processes()} == expected
    made.close()


def test_a_process_is_whose_cgroup_it_is_in(host: Host) -> None:
    """Not whose it says by a name: what a user's cgroup is called is the user's."""
    delegated = host.folder / "app.service"
    (delegated / f"docker-{'f' * 64}.scope").mkdir(parents=True)
    os.chown(delegated, 1000, -1)
    (host.folder / "docker" / ID / "inner").mkdir()
    folders = {
        f"docker/{ID}/inner": ID,
        "app.service": None,
        f"app.service/docker-{'f' * 64}.scope": 1000,
    }
    for pid, folder in enumerate(folders, 10):
        (host.folder / folder / "cgroup.procs").write_text(f"{pid}\n")
    words = (("unit", "*"), ("container", "*"))
    made = host.learned(ROOT, chosen=Chosen({}, words))
    found = {each.pid: each.whose for each in made.chosen_processes()}
    assert found == dict(enumerate(folders.values(), 10))
    made.close()
