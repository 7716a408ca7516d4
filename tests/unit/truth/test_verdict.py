"""A verdict holds each label to the roles: the sender, and the receiver as its peer."""

import socket

import pytest

from support import stream
from truth import verdict
from truth.claims import Claim, Claims
from truth.packets import ELSEWHERE, Ends, Packet

SERVER, CLIENT = 20000, 40000
SENDER = {"pid": "1", "comm": "client", "uid": "0"}
RECEIVER = {"pid": "2", "comm": "server", "uid": "0"}
PEER = {"peer_pid": "2", "peer_comm": "server"}


def judged(
    label: dict[str, str],
    *owned: str,
    source: str = "127.0.0.1",
    thread: tuple[int, int] | None = None,
) -> list[str]:
    """Judge a packet from the client to the server; `owned`: which ends are claimed."""
    ends = Ends("tcp", CLIENT, SERVER, (source, "127.0.0.1"))
    if "pid" in label and not thread:
        thread = (int(label["pid"]), 7)
    data = bytes(12) + b"\x08\x00" + bytes(12) + socket.inet_aton(source) + bytes(24)
    packet = Packet("lo", 5, data, ends, label, thread, stream.INBOUND)
    claims = {
        "sender": Claim("c", "tcp", CLIENT, 0, "", "", 1, 1, "client", 0),
        "receiver": Claim("c", "tcp", SERVER, 0, "", "", 1, 2, "server", 0),
    }
    truth = Claims(iter([claims[end] for end in owned]))
    return [one.verdict for one in verdict.judge([packet], truth)]


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (SENDER | PEER, "right"),
        (SENDER, "missing"),
        (PEER, "missing"),
        ({}, "missing"),
        (RECEIVER, "wrong"),
        (RECEIVER | PEER, "wrong"),
        (SENDER | {"peer_pid": "1", "peer_comm": "client"}, "wrong"),
        (SENDER | {"uid": "1"} | PEER, "wrong"),
    ],
)
def test_both_ends_have_an_owner(label: dict[str, str], expected: str) -> None:
    assert judged(label, "sender", "receiver") == [expected]


def test_a_receiver_does_not_send_what_the_kernel_of_this_host_sends() -> None:
    assert judged(RECEIVER, "receiver") == ["wrong"]
    assert judged(PEER, "receiver") == ["right"]


def test_of_a_packet_from_another_host_the_receiver_is_named_first() -> None:
    assert judged(RECEIVER, "receiver", source=ELSEWHERE) == ["right"]
    assert judged(PEER, "receiver", source=ELSEWHERE) == ["missing"]
    assert judged(SENDER, "receiver", source=ELSEWHERE) == ["wrong"]


def test_a_label_without_an_owner_is_wrong_and_none_is_not_judged() -> None:
    assert judged(SENDER) == ["wrong"]
    assert judged({}) == []


def test_a_thread_of_another_process_is_wrong() -> None:
    assert judged(SENDER | PEER, "sender", "receiver", thread=(2, 7)) == ["wrong"]
    assert judged(PEER, "sender", "receiver", thread=(2, 7)) == ["wrong"]


def test_a_port_is_nobodys_after_its_owner() -> None:
    ends = Ends("tcp", CLIENT, SERVER, ("127.0.0.1", "127.0.0.1"))
    owner = Claim("c", "tcp", CLIENT, 0, "", "", 1, 1, "client", 0)
    nobody = Claim("c", "tcp", CLIENT, 0, "", "", 3, 0, "", 0)
    truth = Claims(iter([owner, nobody]))
    early, late = (Packet("lo", ns, b"", ends, {}, None) for ns in (2, 4))
    assert truth.sender(early, ends) == owner
    assert truth.sender(late, ends) is None
