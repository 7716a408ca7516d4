import pytest

from support.libpcap_oracle import ETHERNET, RAW
from tccap.front import filtercheck


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tcp port 443", None),
        ("", None),
        ("pid 1 and tcp port 443", None),
        ("not uid 0", None),
        ("tcp port", "can't parse filter expression: syntax error"),
        ("pid 1 and tcp port", "can't parse filter expression: syntax error"),
        ("tcp and udp", "expression rejects all packets"),
        ("pid x", 'In the capture filter, "pid" takes a number.'),
        ('comm == "curl" and tcp', None),
        ("uid root", None),
    ],
)
def test_validation_is_silent_or_one_line(text: str, expected: str | None) -> None:
    assert filtercheck.validate(text, ETHERNET) == expected


def test_validation_depends_on_the_link_type() -> None:
    assert filtercheck.validate("arp", ETHERNET) is None
    assert filtercheck.validate("arp", RAW) == "expression rejects all packets"
