"""What is said of processes whose TLS library is not read."""

import pytest

from tccap.tls import unsupported


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("/opt/java/lib/server/libjvm.so", "Java's TLS, which cannot be read: write a"),
        ("/usr/lib/libmbedtls.so.14", "mbedTLS"),
        ("/usr/lib/libwolfssl.so.42", "wolfSSL"),
        ("/usr/lib/libc.so.6", "no TLS library that is known is in it"),
    ],
)
def test_the_library_is_named(file: str, words: str) -> None:
    assert words in unsupported.sentence(["/bin/program", file])
