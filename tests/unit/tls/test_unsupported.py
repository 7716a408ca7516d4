"""What is said of processes whose TLS library is not read."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tccap.tls import mapped, unsupported
from tccap.tls.mapped import Mapped
from tccap.tls.sites import Inspection
from tccap.tls.unsupported import Recognition


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (
            "/opt/java/lib/server/libjvm.so",
            "it runs Java, whose own TLS cannot ",
        ),
        ("/usr/lib/erlang/erts-13/bin/beam.smp", "it runs Erlang, whose own TLS "),
        ("/usr/lib/libmbedtls.so.14", "it uses mbedTLS, which cannot be read: "),
        ("/opt/wheel.libs/libmbedtls-783f9d33.so.14", "it uses mbedTLS, which "),
        ("/usr/lib/libwolfssl.so.42", "it uses wolfSSL, which cannot be read: "),
        ("/usr/lib/libs2n.so.1", "it uses s2n, which cannot be read: "),
        ("/usr/lib/libtls.so.28", "it uses LibreSSL, which cannot be read: "),
        (
            "/opt/old/libssl.so.1.0.2",
            "it uses an OpenSSL older than 1.1, which cannot ",
        ),
        ("/usr/lib/libssl.so.1.1", "no TLS library that is known is in it"),
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


NOT_UNDERSTOOD = "It holds key-log labels, but its log function was not understood."
NO_LABELS = "It holds no key-log labels: it is no TLS library that is known."
MBEDTLS = unsupported.named(["/lib/libmbedtls.so.21"])


@pytest.mark.parametrize(
    ("refusal", "library", "said"),
    [
        (NOT_UNDERSTOOD, None, f"{NOT_UNDERSTOOD[:-1]}: {unsupported._BY_KEYLOG}"),
        # mbedTLS 3.6 has the labels in the names of its own constants.
        (NOT_UNDERSTOOD, MBEDTLS, f"{NOT_UNDERSTOOD[:-1]}; it uses mbedTLS, which "),
        (NO_LABELS, None, NO_LABELS),
        (NO_LABELS, MBEDTLS, "It holds no key-log labels; it uses mbedTLS, which "),
        ("It uses s2n, and: try it.", MBEDTLS, "It uses s2n, and: try it."),
    ],
)
def test_a_refusal_says_which_library_it_is_and_what_helps(
    refusal: str, library: unsupported.Library | None, said: str
) -> None:
    assert unsupported.why_refused(refusal, library).startswith(said)


@pytest.mark.parametrize(
    ("marker", "words"),
    [
        (b"=> handshake wrapup", "it uses mbedTLS, "),
        (b"abc0:Network.TLS.Extra.Cipher", "it uses the TLS of Haskell, "),
        (b"TLSv1 part of OpenSSL 1.0.2e 3 Dec", "it uses an OpenSSL older than 1.1, "),
    ],
)
def test_a_program_that_a_library_is_linked_into(
    tmp_path: Path, marker: bytes, words: str
) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF" + bytes(3 << 20) + marker)
    with program.open("rb") as file:
        library = unsupported.linked_into(file.fileno(), program.stat().st_size)
    assert library
    assert library.sentence.startswith(words)


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (NOT_UNDERSTOOD, f"{NOT_UNDERSTOOD[:-1]}; it uses mbedTLS, which "),
        ("It uses s2n, and: try it.", "It uses s2n, and: try it."),
        ("", ""),
    ],
)
def test_an_answer_is_explained_from_the_open_file(
    tmp_path: Path, refusal: str, said: str
) -> None:
    """Its process may have ended by then."""
    program = tmp_path / "program"
    program.write_bytes(b"=> handshake wrapup")
    answer = Inspection("", "", "", (), "", refusal or "none")
    if not refusal:
        answer = replace(answer, library="NSS", refusal="", handle_at=0)
    with program.open("rb") as file:
        program.unlink()
        found = unsupported.explained(answer, file.fileno(), str(program))
    assert found.refusal.startswith(said)
    assert bool(found.refusal) == bool(refusal)
