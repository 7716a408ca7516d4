"""Where a frame without a link-layer header begins: at its network header."""

from typing import Any

import pytest

import progrun
from support import frames
from tccap.bpf import source

# BPF_PROG_TEST_RUN takes a frame with an Ethernet header.
ETHERNET_LEN, START_MAX = 14, 255
PUSHED = (0, 1, 10, 14, 26, 50, 113, 114, 241, 300)

_PROGRAM = """
int offset(struct __sk_buff *skb)
{
	if (skb->mark)
		bpf_skb_change_head(skb, skb->mark, 0);
	return network_offset(skb);
}
"""


@pytest.fixture(scope="module")
def program() -> tuple[Any, int]:
    """Return the program's descriptor behind its owner, with which it would close."""
    return progrun.load(
        source.text(source.including("packet/start.h"), _PROGRAM), "offset"
    )


@pytest.mark.parametrize("pushed", PUSHED)
def test_the_network_header_is_found(program: tuple[Any, int], pushed: int) -> None:
    for frame in (frames.CATALOGUE["ipv4 udp"], frames.CATALOGUE["ipv6 hop by hop"]):
        found, _ = progrun.run(program[1], frame, mark=pushed)
        assert found == min(ETHERNET_LEN + pushed, START_MAX)
