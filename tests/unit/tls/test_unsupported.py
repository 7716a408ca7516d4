"""What is said of processes whose TLS library is not read."""

import os
import shutil
from pathlib import Path

import pytest

from tccap.tls import mapped, unsupported
from tccap.tls.mapped import Mapped
from tccap.tls.unsupported import Recognition


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (
            "/opt/java/lib/server/libjvm.so",
            "it runs Java, whose own TLS cannot ",
        ),
        ("/usr/lib/libmbedtls.so.14", "it uses mbedTLS, which cannot be read: "),
        ("/opt/wheel.libs/libmbedtls-783f9d33.so.14", "it uses mbedTLS, which "),
        ("/usr/lib/libwolfssl.so.42", "it uses wolfSSL, which cannot be read: "),
        ("/usr/lib/libs2n.so.1", "it uses s2n, which cannot be read: "),
        ("/usr/lib/libtls.so.28", "it uses LibreSSL, which cannot be read: "),
        ("/usr/lib/libc.so.6", "no TLS library that is known is in it"),
        (
            "/usr/lib/python3/dist-packages/pythonmagic.so",
            "no TLS library that is known",
        ),
    ],
)
def test_the_library_is_named(file: str, words: str) -> None:
    library = unsupported.named(["/bin/program", file])
    assert unsupported.sentence(library).startswith(words)


def test_the_files_of_a_process_are_looked_into() -> None:
    """Of this process, which has Python and no library that is not read."""
    files = tuple(mapped.files(os.getpid()))
    library = Recognition().of(files)
    assert library
    assert library.sentence.startswith("it runs Python, where TLS that is written in ")


def test_a_library_that_is_linked_into_a_program_counts_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python3"
    shutil.copy("/bin/true", program)
    with program.open("ab") as file:
        file.write(b"=> handshake wrapup")
    identity = mapped.Identity("8:1", "7", str(program))
    monkeypatch.setattr(
        mapped, "opened", lambda file: mapped.open_file(file.identity.path)
    )
    library = Recognition().of([Mapped(identity, 1, "0-1")])
    assert library
    assert library.sentence.startswith("it uses mbedTLS, ")
