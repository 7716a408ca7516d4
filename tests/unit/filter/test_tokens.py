import pytest

from tccap.filter import tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("tcp port 80", ["tcp", "port", "80"]),
        ("pid 1&&tcp||!udp", ["pid", "1", "&&", "tcp", "||", "!", "udp"]),
        ("(tcp[13]&2!=0)", ["(", "tcp", "[", "13", "]", "&2", "!", "=", "0", ")"]),
        ('comm "a b"', ["comm", '"a b"']),
        ('comm "a', ["comm", '"', "a"]),
        ("comm=='a'", ["comm", "==", "'a'"]),
        ("uid=0", ["uid", "=", "0"]),
        ("xpid=0", ["xpid=0"]),
    ],
)
def test_split(text: str, expected: list[str]) -> None:
    found = tokens.split(text)
    assert [token.text for token in found] == expected
    for token in found:
        assert text[token.start : token.end] == token.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pid 1", True),
        ("comm and", False),
        ("comm == and", True),
        ("pid", False),
        ("process 1", False),
        ("inbound", True),
        ("ifindex 2", True),
        ("ifindex", False),
    ],
)
def test_starts_own(text: str, expected: bool) -> None:
    assert tokens.starts_own(tokens.split(text), 0) == expected


def test_a_name_behind_a_qualifier_is_libpcaps() -> None:
    assert not tokens.starts_own(tokens.split("host comm x"), 1)
