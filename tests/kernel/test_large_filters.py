"""Captures with large filters: the verifier accepts the whole classifier."""

import socket

import pytest

import expressions
from support import frames, netns, running

HOSTS = [f"10.{n // 250}.{n % 250}.9" for n in range(2000)]
FILTERS = {
    "1,000 hosts": f"{expressions.many_hosts(1000)} or udp port 9",
    "1,500 terms": " or ".join(
        [
            *(f"host {host}" for host in HOSTS[:500]),
            *(f"net 10.{n // 250}.{n % 250}.0/24" for n in range(500, 999)),
            *(f"tcp port {n}" for n in range(1000, 1500)),
            "udp port 9",
        ]
    ),
    "chains of headers": "ip6 protochain 6 or ip protochain 17 and port 9",
    "words": f"udp port 9 and not pid 1 and not ({expressions.many_hosts(50)})",
    "1,000 hosts with a word": (
        f"(udp port 9 or {expressions.many_hosts(1000)}) and not pid 1"
    ),
    "100 words": " or ".join(
        [*(f"pid {10_000_000 + n}" for n in range(99)), "udp port 9"]
    ),
}


IN_EVERY_MATRIX = ("1,500 terms", "1,000 hosts with a word")


@pytest.mark.parametrize(
    "name",
    [
        *IN_EVERY_MATRIX,
        *(
            pytest.param(name, marks=pytest.mark.full_matrix)
            for name in FILTERS
            if name not in IN_EVERY_MATRIX
        ),
    ],
)
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


@pytest.mark.full_matrix
def test_a_filter_that_is_too_large_gets_a_sentence() -> None:
    # Each follows the headers of a packet anew.
    text = " or ".join(f"ip6 protochain {n}" for n in range(20, 80))
    with (
        netns.pair() as pair,
        pytest.raises(AssertionError, match="too large for this kernel: use fewer"),
        running.engine(pair.near, "veth0", filters=[text]),
    ):
        pass
