"""Which real-time kernels work on one packet at a time on each processor."""

import pytest

from tccap.engine.realtime import keeps_packets_apart

LOCKED = "CONFIG_PREEMPT_RT=y\nCONFIG_PREEMPT_RT_NEEDS_BH_LOCK=y\n"
UNLOCKED = "CONFIG_PREEMPT_RT=y\n# CONFIG_PREEMPT_RT_NEEDS_BH_LOCK is not set\n"
OLDER = "CONFIG_PREEMPT_RT=y\n"


@pytest.mark.parametrize(
    ("release", "config", "expected"),
    [
        ("7.2.13-rt-amd64", LOCKED, True),
        ("7.2.13-rt-amd64", UNLOCKED, False),
        ("6.12.9-rt-amd64", OLDER, True),
        ("6.12.9-rt-amd64", UNLOCKED, False),  # a backport
        ("7.9.0-rt", OLDER, False),  # where the option may be gone
        ("6.17.0-rt", None, True),
        ("6.18.0-rt", None, False),
        ("10.0.1", None, False),
        ("unheard-of", None, False),
    ],
)
def test_release_and_configuration_decide(
    release: str, config: str | None, *, expected: bool
) -> None:
    assert keeps_packets_apart(release, config) is expected
