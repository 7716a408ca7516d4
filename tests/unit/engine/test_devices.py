"""What rtnetlink says about devices that this kernel may not have."""

from typing import Any

import pytest

from tccap.engine import devices

IPGRE, IP6GRE, TUNNEL = 778, 823, 768
COLLECT = ("linkinfo", "data", "gre_collect_metadata")
NO_IPV6, IPV6 = ":".join(["00"] * 16), ":".join(["20", *["00"] * 14, "01"])


class Link(dict[Any, Any]):
    """A link as pyroute2 returns it."""


@pytest.mark.parametrize(
    ("hardware_type", "remote", "collects", "has"),
    [
        (IPGRE, "0a:09:00:02", False, False),
        (IPGRE, "00:00:00:00", False, True),  # multipoint
        (IPGRE, "ef:01:01:01", False, True),  # multicast
        (IPGRE, "00:00:00:00", True, False),  # external: the route has the address
        (IPGRE, None, False, True),
        (IP6GRE, IPV6, False, False),
        (IP6GRE, NO_IPV6, False, True),
        (IP6GRE, "ff" + IPV6[2:], False, False),
        (TUNNEL, "00:00:00:00", False, False),
    ],
)
def test_gre_without_one_remote_shows_the_outer_header(
    hardware_type: int, remote: str | None, collects: bool, has: bool
) -> None:
    link = Link(ifi_type=hardware_type, broadcast=remote)
    link[COLLECT] = collects
    assert devices._has_outer_header(link) == has
