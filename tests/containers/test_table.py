"""Labels of packets of real container runtimes, where people capture."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from containers import host, judged, kinds, rows
from containers.kinds import KINDS, Kind, started
from containers.rows import Row, Rows, ask_all
from support import commandline
from truth import packets


@pytest.mark.parametrize("name", KINDS)
def test_no_label_is_wrong(name: str, tmp_path: Path) -> None:
    kind = kinds.found(name)
    done = _run(kind, tmp_path / "all.pcapng")
    print("", name, *done.table.lines(), sep="\n")  # noqa: T201
    print(*(f"{row}: no answer" for row in done.unanswered), sep="\n")  # noqa: T201
    assert not done.table.wrong, "\n".join(done.table.wrong)
    assert set(done.unanswered) <= set(kind.unanswered)
    assert done.table.unlabelled() == []


class Done(NamedTuple):
    """What a run has shown."""

    table: judged.Table
    unanswered: list[str]  # rows


def _run(kind: Kind, file: Path) -> Done:
    """Run a runtime's rows with two containers; one is older than the capture."""
    with host.host(rows.PROGRAMS) as made, kind.start(made) as runtime:
        one = started(made, runtime, "web-1", rows.SERVES, rows.PUBLISHED)
        with commandline.capturing(
            made, "-i", "any", "-w", str(file), "--label", "short"
        ) as capture:
            two = started(made, runtime, "web-2", rows.OTHER_SERVES, rows.OF_OTHER)
            every = list(_rows(kind, Rows(made, runtime, (one, two), kind.passes_on)))
            unanswered = list(ask_all(made, every))
            capture.interrupt()
            counts, _ = capture.end()
    assert counts.dropped == 0
    return Done(judged.Table(every, packets.read(file.read_bytes())), unanswered)


def _rows(kind: Kind, made: Rows) -> Iterator[Row]:
    return made.bridged(proxied=kind.proxied) if kind.is_bridged else made.unbridged()
