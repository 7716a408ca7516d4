"""Plays the cases: ``python -m truth.play FOLDER MANY``.

Runs in the world's namespace. Says ``prepared`` when the cases have done what
comes before the capture, and ``played`` at the end; a line on stdin starts the
rest. What went wrong with a case is said between.
"""

import inspect
import json
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from truth.actors import kill_all
from truth.cases import CASES, Stage
from truth.claims import ClaimLog
from truth.world import World

WORLD, CLAIMS, PROBLEMS = "world", "claims", "problems"


def main() -> None:
    """Play all cases, or those that are named behind the number."""
    folder, many, chosen = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    world = World.from_json((folder / WORLD).read_text())
    stage = Stage(world, ClaimLog(folder / CLAIMS), many)
    names = [name for name in CASES if not chosen or name in chosen]
    problems: dict[str, str] = {}
    prepared = {
        n: CASES[n](stage) for n in names if inspect.isgeneratorfunction(CASES[n])
    }
    for name, rest in prepared.items():
        _guarded(name, stage, problems, partial(next, rest))
    print("prepared", flush=True)  # noqa: T201  # to the test
    sys.stdin.readline()
    for name, rest in prepared.items():
        _guarded(name, stage, problems, partial(next, rest, None))
    kill_all()
    for name in names:
        if name not in prepared:
            _guarded(name, stage, problems, partial(CASES[name], stage))
            kill_all()
    (folder / PROBLEMS).write_text(json.dumps(problems))
    print("played", flush=True)  # noqa: T201  # to the test


def _guarded(
    name: str, stage: Stage, problems: dict[str, str], part: Callable[[], object]
) -> None:
    """Do part of a case; what goes wrong does not keep the others from playing."""
    stage.log.case = name
    try:
        part()
    except Exception:  # noqa: BLE001  # whatever it is, it is told
        problems[name] = traceback.format_exc()


if __name__ == "__main__":
    main()
