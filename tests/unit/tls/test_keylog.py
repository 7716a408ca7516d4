"""Secrets: which are accepted, and the block that Wireshark gets."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tccap.tls import keylog
from tccap.tls.keylog import Secret
from tccap.tls.sites import LABELS

RANDOM = bytes(range(32))
SECRETS = st.builds(
    Secret,
    label=st.sampled_from(LABELS),
    client_random=st.binary(min_size=32, max_size=32).filter(any),
    secret=st.one_of(
        *(st.binary(min_size=n, max_size=n).filter(any) for n in (32, 48))
    ),
)
REFUSED = [
    (b"CLIENT_RANDOM ", RANDOM, RANDOM),
    (b"SERVER_SECRET", RANDOM, RANDOM),
    (b"", RANDOM, RANDOM),
    (b"\xff", RANDOM, RANDOM),
    (b"CLIENT_RANDOM", RANDOM[1:], RANDOM),
    (b"CLIENT_RANDOM", bytes(32), RANDOM),
    (b"CLIENT_RANDOM", RANDOM, b""),
    (b"CLIENT_RANDOM", RANDOM, bytes(48)),
    (b"CLIENT_RANDOM", RANDOM, RANDOM[:31]),
    (b"CLIENT_RANDOM", RANDOM, RANDOM + b"1"),
    (b"CLIENT_RANDOM", RANDOM, RANDOM * 2),
]
HEX = RANDOM.hex().encode()
NO_LINES = [
    b"",
    b"# a comment",
    b"CLIENT_RANDOM " + HEX,
    b"CLIENT_RANDOM " + HEX + b" " + HEX[:-1],
    b"CLIENT_RANDOM " + HEX + b" " + HEX + b" more",
    b" CLIENT_RANDOM " + HEX + b" " + HEX,
    b"CLIENT_RANDOM\n" + HEX + b" " + HEX,
    b"CLIENT_RANDOM " + HEX + b" " + HEX.replace(b"0", b"g"),
    b"CLIENT_TRAFFIC_SECRET_1 " + HEX + b" " + HEX,
]


@given(SECRETS)
def test_a_good_secret_is_accepted(secret: Secret) -> None:
    found = keylog.accept(secret.label.encode(), secret.client_random, secret.secret)
    assert found == secret


@pytest.mark.parametrize(("label", "client_random", "secret"), REFUSED)
def test_an_impossible_secret_is_refused(
    label: bytes, client_random: bytes, secret: bytes
) -> None:
    assert keylog.accept(label, client_random, secret) is None


@given(SECRETS, st.sampled_from(["", "\r", "  "]), st.booleans())
def test_a_line_is_read_as_it_was_written(
    secret: Secret, end: str, upper: bool
) -> None:
    digits = f"{secret.client_random.hex()} {secret.secret.hex()}"
    line = f"{secret.label} {digits.upper() if upper else digits}{end}"
    assert keylog.parse_line(line.encode()) == secret


@pytest.mark.parametrize("line", NO_LINES)
def test_other_lines_are_passed_over(line: bytes) -> None:
    assert keylog.parse_line(line) is None


@given(st.binary(max_size=300))
def test_no_line_does_harm(line: bytes) -> None:
    assert keylog.parse_line(line) is None


@given(SECRETS)
def test_the_block_holds_the_line(secret: Secret) -> None:
    block = keylog.block(secret)
    kind, length, what, data_len = struct.unpack_from("=IIII", block)
    assert (kind, what) == (10, 0x544C534B)
    assert length == len(block) == struct.unpack("=I", block[-4:])[0]
    assert length % 4 == 0
    assert keylog.parse_line(block[16 : 16 + data_len].rstrip(b"\n")) == secret
    assert not any(block[16 + data_len : -4])
