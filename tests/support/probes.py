"""What this kernel has, found by trying."""

import os
import subprocess

import pytest

from support.netns import Namespace

STRICT = "TCCAP_REQUIRE_KERNEL"


def skip_unless(present: bool, feature: str, since: tuple[int, int]) -> None:
    """Skip for want of a feature.

    Whether it is there was found by trying. With TCCAP_REQUIRE_KERNEL=1, which
    the virtual machines set, a kernel that is new enough must have it.
    """
    if present:
        return
    release = os.uname().release
    version = tuple(int(part) for part in release.split(".")[:2])
    if os.environ.get(STRICT) == "1" and version >= since:
        pytest.fail(f"Linux {release} should have {feature}")
    pytest.skip(f"this kernel, {release}, has no {feature}")


def can_add(space: Namespace, *arguments: str) -> bool:
    """Tell whether ``ip link add`` does it, and leave it done."""
    try:
        space.ip("link", "add", *arguments)
    except subprocess.CalledProcessError:
        return False
    return True
