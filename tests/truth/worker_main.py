"""Runs the cases: ``python -m truth.worker_main FOLDER MANY [CASE...]``.

Runs in the captured namespace. Prints ``prepared`` when the first steps of all
cases are done, waits for a line on stdin, which is sent when the captures run,
and prints ``done`` at the end. Exceptions go into a file, by case.
"""

import inspect
import json
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from truth.cases.registry import CASES, LAST, CaseContext
from truth.claims import ClaimLog
from truth.network import Network
from truth.workers import kill_all

NETWORK, CLAIMS, PROBLEMS = "network", "claims", "problems"
CAPTURE = "all.pcapng"


def main() -> None:
    """Run all cases, or those that are named behind the number."""
    folder, many, chosen = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    network = Network.from_json((folder / NETWORK).read_text())
    context = CaseContext(network, ClaimLog(folder / CLAIMS), many, folder / CAPTURE)
    names = [name for name in CASES if not chosen or name in chosen]
    names.sort(key=LAST.__contains__)
    problems: dict[str, str] = {}
    prepared = {
        n: CASES[n](context) for n in names if inspect.isgeneratorfunction(CASES[n])
    }
    for name, rest in prepared.items():
        _guarded(name, context, problems, partial(next, rest))
    print("prepared", flush=True)  # noqa: T201  # to run.py
    sys.stdin.readline()
    for name, rest in prepared.items():
        _guarded(name, context, problems, partial(next, rest, None))
    kill_all()
    for name in names:
        if name not in prepared:
            _guarded(name, context, problems, partial(CASES[name], context))
            kill_all()
    (folder / PROBLEMS).write_text(json.dumps(problems))
    print("done", flush=True)  # noqa: T201  # to run.py


def _guarded(
    name: str,
    context: CaseContext,
    problems: dict[str, str],
    part: Callable[[], object],
) -> None:
    """Do part of a case; its failure does not keep the others from running."""
    context.log.case = name
    try:
        part()
    except Exception:  # noqa: BLE001  # the test prints it
        problems[name] = traceback.format_exc()


if __name__ == "__main__":
    main()
