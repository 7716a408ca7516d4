"""The real engine gets malicious Plans: it answers with a sentence and nothing else."""

import json
import re
import subprocess

import pytest

import hostile
from support import netns, running, stream, tc


def test_there_are_many_kinds() -> None:
    assert len(hostile.PLANS) >= 50
    assert len(set(hostile.PLANS.values())) == len(hostile.PLANS)


@pytest.mark.parametrize("kind", hostile.PLANS)
def test_it_is_refused_in_a_sentence(pair: netns.Pair, kind: str) -> None:
    done = subprocess.run(
        pair.near.command(*running.engine_command()),
        input=hostile.PLANS[kind],
        capture_output=True,
        check=False,
        timeout=running.DEADLINE_S,
    )
    events = [json.loads(line) for line in done.stderr.splitlines()]
    errors = [event["message"] for event in events if event["event"] == "error"]
    assert done.returncode == 1
    assert len(errors) == 1
    assert len(errors[0]) < 1000
    assert "\n" not in errors[0]
    assert not re.search(r"Error|Traceback|failed:", errors[0]), errors[0]
    # What is found out late, a device that is not there, may leave a header.
    found = stream.parse(done.stdout)
    assert (found.interfaces, found.frames) == ([], [])


def test_nothing_is_left(pair: netns.Pair) -> None:
    assert tc.left(pair.near) == []
