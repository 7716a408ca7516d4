"""Features of this kernel, found by trying."""

import os
import subprocess

import pytest

from support.netns import Namespace

STRICT = "TCCAP_REQUIRE_KERNEL"


def skip_unless(present: bool, feature: str, since: tuple[int, int]) -> None:
    """Skip the test if a feature was tried and is not ``present``.

    With TCCAP_REQUIRE_KERNEL=1, which the virtual machines set, the test fails instead
    on a kernel that is new enough.
    """
    if present:
        return
    release = os.uname().release
    version = tuple(int(part) for part in release.split(".")[:2])
    if os.environ.get(STRICT) == "1" and version >= since:
        pytest.fail(f"Linux {release} should have {feature}")
    pytest.skip(f"this kernel, {release}, has no {feature}")


def can_add(space: Namespace, *arguments: str) -> bool:
    """Return whether ``ip link add`` succeeds; the device stays."""
    try:
        space.ip("link", "add", *arguments)
    except subprocess.CalledProcessError:
        return False
    return True
