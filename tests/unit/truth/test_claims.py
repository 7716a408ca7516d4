"""Who owns an end: claims hold from their time on, and are as narrow as they say."""

from typing import Any

from truth.claims import Claim, Claims
from truth.packets import Ends, Packet

SERVER, CLIENT = 20000, 40000


def claim(pid: int, since_ns: int, **ends: Any) -> Claim:
    made: dict[str, Any] = {"local": 0, "remote": 0, "address": "", "device": ""}
    made |= {"case": "c", "protocol": "tcp", "comm": "x", "uid": 0}
    return Claim(**made | ends, pid=pid, since_ns=since_ns)


def sender_of(claims: list[Claim], time_ns: int, **changes: Any) -> int | None:
    """Return the owner of the client's end of a packet."""
    addresses = (changes.get("source", "127.0.0.1"), changes.get("target", "127.1.0.0"))
    ends = Ends("tcp", CLIENT, SERVER, addresses)
    packet = Packet(changes.get("device", "lo"), time_ns, b"", ends, {}, None)
    found = Claims(iter(claims)).sender(packet, ends)
    return found.pid if found else None


def test_the_next_process_with_the_same_port_does_not_own_the_last_packets() -> None:
    first = claim(1, 10, remote=SERVER, address="127.1.0.0")
    second = claim(2, 20, remote=SERVER, address="127.1.0.1")
    assert sender_of([first, second], 25) == 1
    assert sender_of([first, second], 25, target="127.1.0.1") == 2


def test_the_latest_claim_holds() -> None:
    handed_over = [claim(1, 10, remote=SERVER), claim(2, 20, remote=SERVER)]
    assert sender_of(handed_over, 19) == 1
    assert sender_of(handed_over, 20) == 2


def test_the_first_claim_holds_for_earlier_packets() -> None:
    assert sender_of([claim(1, 10, remote=SERVER)], 9) == 1


def test_of_claims_of_the_same_time_the_narrower_one_holds() -> None:
    both = [claim(1, 10, local=CLIENT), claim(2, 10, local=CLIENT, remote=SERVER)]
    assert sender_of(both, 11) == 2


def test_a_claim_on_another_device_does_not_hold() -> None:
    there = claim(1, 10, remote=SERVER, device="box1")
    assert sender_of([there], 11) is None
    assert sender_of([there], 11, device="box1") == 1


def test_the_receiver_is_the_other_end() -> None:
    ends = Ends("tcp", SERVER, CLIENT, ("127.1.0.0", "127.0.0.1"))
    packet = Packet("lo", 11, b"", ends, {}, None)
    claims = Claims(iter([claim(1, 10, remote=SERVER, address="127.1.0.0")]))
    assert claims.sender(packet, ends) is None
    found = claims.receiver(packet, ends)
    assert found
    assert found.pid == 1
