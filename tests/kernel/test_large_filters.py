"""Captures with large filters: the verifier accepts the whole classifier."""

import socket

import pytest

import expressions
from support import frames, netns, running

FILTERS = {
    "500 hosts": f"{expressions.many_hosts(500)} or udp port 9",
    "chains of headers": "ip6 protochain 6 or ip protochain 17 and port 9",
    "words": f"udp port 9 and not pid 1 and not ({expressions.many_hosts(50)})",
}


@pytest.mark.parametrize("name", FILTERS)
def test_it_loads_and_filters(name: str) -> None:
    with (
        netns.pair() as pair,
        running.engine(
            pair.near,
            "veth0",
            direction="out",
            label="short",
            tls="all",
            filters=[FILTERS[name]],
        ) as engine,
    ):
        mark = frames.marker()
        with pair.near.entered(), socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.sendto(b"rejected", (pair.far_address, 10))
            sock.sendto(mark, (pair.far_address, 9))
        found = engine.stop_after(mark)
    assert [f.data[42:] for f in found.frames] == [mark]
