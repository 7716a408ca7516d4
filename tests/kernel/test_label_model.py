"""Random schedules of processes and sockets: a label says what the model says, or less.

``TCCAP_MODEL_STEPS`` and ``TCCAP_MODEL_SEED`` run longer and other ones.
"""

import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from truth import packets, run, schedule
from truth.network import inside, network
from truth.packets import Packet
from truth.schedule import Expected

STEPS = int(os.environ.get("TCCAP_MODEL_STEPS", "400"))
SEED = int(os.environ.get("TCCAP_MODEL_SEED", "1"))
DATAGRAM = re.compile(rb"datagram \d+\.")


@pytest.mark.timeout(3600)
def test_a_label_says_what_the_model_says_or_less(tmp_path: Path) -> None:
    expected = _run(tmp_path)
    captured = list(packets.read((tmp_path / "all.pcapng").read_bytes()))
    judged = [(one, p) for p in captured for one in _about(p, expected)]
    complete = sum(_is_complete(*pair) for pair in judged)
    print(f"{len(judged)} packets, {complete} with all ends")  # noqa: T201
    wrong = [pair for pair in judged if _wrong_roles(*pair)]
    kinds = Counter((p.device, *_wrong_roles(one, p)) for one, p in wrong)
    examples = {(p.device, *_wrong_roles(one, p)): (one, p) for one, p in wrong}
    shown = "\n".join(_problem(*pair) for pair in examples.values())
    assert not wrong, f"seed {SEED}, wrong: {dict(kinds)}\n{shown}"
    assert len(judged) >= len(expected)
    assert complete > len(judged) // 3


def _run(folder: Path) -> dict[str, list[Expected]]:
    tests = str(Path(__file__).parents[1])
    module = [sys.executable, "-m", "truth.schedule", str(folder), str(STEPS)]
    with network() as made:
        (folder / schedule.NETWORK).write_text(made.to_json())
        command = inside(made.here, "env", f"PYTHONPATH={tests}", *module, str(SEED))
        with run.capture(made.here, folder / "all"):
            subprocess.run(command, check=True)
    by_key = defaultdict(list)
    for fields in json.loads((folder / schedule.EXPECTED).read_text()):
        one = Expected(**fields)
        by_key[one.key].append(one)
    return by_key


def _about(packet: Packet, expected: dict[str, list[Expected]]) -> list[Expected]:
    """Return what is expected of a packet: one, or none if it is not the schedule's."""
    ends = packet.ends
    if ends is None:
        return []
    if found := DATAGRAM.search(packet.data):
        return expected[found[0].decode()]
    return [
        one
        for one in expected.get(f"{ends.sender}-{ends.receiver}", ())
        if one.since_ns <= packet.time_ns <= one.until_ns
    ]


def _named(packet: Packet) -> tuple[int, int]:
    label = packet.label
    return int(label.get("pid", 0)), int(label.get("peer_pid", 0))


def _wrong_roles(one: Expected, packet: Packet) -> list[str]:
    sender, receiver = _named(packet)
    roles = (("sender", sender, one.sender), ("receiver", receiver, one.receiver))
    return [role for role, named, due in roles if named not in (0, due)]


def _is_complete(one: Expected, packet: Packet) -> bool:
    return _named(packet) == (one.sender, one.receiver)


def _problem(one: Expected, packet: Packet) -> str:
    due = f"due {one.sender} to {one.receiver}"
    return f"{one.key} on {packet.device}: {due}, {packet.label}: {one.history}"
