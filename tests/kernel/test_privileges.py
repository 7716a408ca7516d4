"""An engine that captures keeps only the capabilities that it needs."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from support import netns, running
from tccap.engine import privileges


def _status(pid: int, task: str) -> dict[str, str]:
    text = Path(f"/proc/{pid}/task/{task}/status").read_text()
    return dict(re.findall(r"^(\w+):\t(.*)$", text, re.MULTILINE))


def _numbers(mask: str) -> set[int]:
    return {n for n in range(64) if int(mask, 16) >> n & 1}


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        pytest.param({}, privileges.KEPT, id="kept"),
        pytest.param(
            {"inside": True, "units": ("none",)},
            privileges.ENTERING,
            id="inside",
            marks=pytest.mark.same_everywhere,
        ),
    ],
)
def test_every_thread_has_dropped_unneeded_capabilities(
    pair: netns.Pair, changes: dict[str, Any], kept: dict[int, str]
) -> None:
    # Not every root has all of them.
    had = _numbers(_status(os.getpid(), str(os.getpid()))["CapEff"])
    with running.engine(pair.near, "any", label="full", **changes) as engine:
        pid = engine.process.pid
        for path in Path(f"/proc/{pid}/task").iterdir():
            task = path.name
            status = _status(pid, task)
            for kind in ("CapEff", "CapPrm", "CapBnd"):
                assert _numbers(status[kind]) == had & {*kept}, (task, kind)
            assert _numbers(status["CapInh"]) == _numbers(status["CapAmb"]) == set()
            assert status["NoNewPrivs"] == "1"
        engine.stop()


def test_wide_capabilities_are_not_kept() -> None:
    wide = {privileges.SYS_ADMIN, privileges.SYS_RESOURCE, 1, 16, 17, 22, 27}
    assert not wide & {*privileges.KEPT}
    assert {*privileges.KEPT} < {*privileges.STARTING}
