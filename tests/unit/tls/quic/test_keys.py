"""Keys of Initial packets, by the appendices of RFC 9001 and RFC 9369."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import quicpackets
from tccap.tls.quic.keys import V1, V2, InitialKeys
from tccap.tls.quic.packets import long_packets

# Appendices A of both.
ORIGIN = bytes.fromhex("8394c8f03e515708")
CLIENT_PAYLOAD = bytes.fromhex(
    "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e868"
    "04fe3a47f06a2b69484c00000413011302010000c000000010000e00000b6578"
    "616d706c652e636f6dff01000100000a00080006001d00170018001000070005"
    "04616c706e000500050100000000003300260024001d00209370b2c9caa47fba"
    "baf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b000302030400"
    "0d0010000e0403050306030203080408050806002d00020101001c0002400100"
    "3900320408ffffffffffffffff05048000ffff07048000ffff08011001048000"
    "75300901100f088394c8f03e51570806048000ffff"
)
# The first bytes, and the tag, which depends on all others.
CLIENT_PACKETS = {
    V1: (
        "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11",
        "e221af44860018ab0856972e194cd934",
    ),
    V2: (
        "d76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485",
        "a18b2faa745b6fe189cf772a9f84cbfc",
    ),
}
SERVER_PAYLOAD = bytes.fromhex(
    "02000000000600405a020000560303eefce7f7b37ba1d1632e96677825ddf739"
    "88cfc79825df566dc5430b9a045a1200130100002e00330024001d00209d3c94"
    "0d89690b84d08a60993c144eca684d1081287c834d5311bcf32bb9da1a002b00"
    "020304"
)
SERVER_PACKETS = {
    V1: (
        "cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a"
        "5816b6394100f37a1c69797554780bb38cc5a99f5ede4cf73c3ec2493a1839b3"
        "dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84"
        "022f8ef4cdd93795d77d06edbb7aaf2f58891850abbdca3d20398c276456cbc4"
        "2158407dd074ee"
    ),
    V2: (
        "dc6b3343cf0008f067a5502a4262b5004075d92faaf16f05d8a4398c47089698"
        "baeea26b91eb761d9b89237bbf87263017915358230035f7fd3945d88965cf17"
        "f9af6e16886c61bfc703106fbaf3cb4cfa52382dd16a393e42757507698075b2"
        "c984c707f0a0812d8cd5a6881eaf21ceda98f4bd23f6fe1a3e2c43edd9ce7ca8"
        "4bed8521e2e140"
    ),
}


@pytest.mark.parametrize("version", [V1, V2])
def test_the_clients_packet_of_the_rfc(version: int) -> None:
    packet = quicpackets.initial(
        CLIENT_PAYLOAD, origin=ORIGIN, source=b"", version=version, length=1200
    )
    begin, end = (bytes.fromhex(part) for part in CLIENT_PACKETS[version])
    assert (packet[: len(begin)], packet[-len(end) :]) == (begin, end)
    [found] = long_packets(packet)
    keys = InitialKeys(version, ORIGIN)
    payload = keys.client.open(found.content, found.number_at)
    assert payload == CLIENT_PAYLOAD.ljust(1162, b"\0")
    assert keys.server.open(found.content, found.number_at) is None


@pytest.mark.parametrize("version", [V1, V2])
def test_the_servers_packet_of_the_rfc(version: int) -> None:
    [found] = long_packets(bytes.fromhex(SERVER_PACKETS[version]))
    keys = InitialKeys(version, ORIGIN)
    assert keys.server.open(found.content, found.number_at) == SERVER_PAYLOAD
    assert keys.client.open(found.content, found.number_at) is None


def test_other_keys_open_nothing() -> None:
    packet = quicpackets.initial(b"\x01", origin=ORIGIN, length=1200)
    [found] = long_packets(packet)
    for keys in (InitialKeys(V2, ORIGIN), InitialKeys(V1, b"others")):
        assert keys.client.open(found.content, found.number_at) is None


@given(st.binary(max_size=100), st.integers(0, 120))
def test_damaged_packets_are_refused(content: bytes, number_at: int) -> None:
    assert InitialKeys(V1, ORIGIN).client.open(content, number_at) is None
