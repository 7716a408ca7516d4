"""The classifier with all options: every verifier takes it, and has room left."""

from typing import Any

import pytest

from support import bpf, netns, running

# kernel/bpf/verifier.c: BPF_COMPLEXITY_LIMIT_INSNS; what the next kernel or the next
# option needs more must not keep a capture from starting.
LIMIT, ROOM = 1_000_000, 500_000
OPTIONS: dict[str, dict[str, Any]] = {
    "usual": {"label": "short", "tls": "all"},
    "all": {
        "label": "full",
        "tls": "all",
        "keylog": True,
        "uids": [0],
        "units": ["*"],
        "filters": ["(tcp or udp) and not comm init and not container web-*"],
    },
}


@pytest.mark.parametrize("options", ["usual", "all"])
def test_the_verifier_has_room(pair: netns.Pair, options: str) -> None:
    with running.engine(pair.near, "any", **OPTIONS[options]) as engine:
        found = {one.verified for one in bpf.statistics_of(engine.process.pid)}
        engine.end()
    print(f"{options}: {max(found)} of {LIMIT} instructions")  # noqa: T201
    assert max(found) <= ROOM
