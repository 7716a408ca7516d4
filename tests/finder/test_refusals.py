"""What is said of programs that have the labels of key logs, and no key log."""

import subprocess
from pathlib import Path

import pytest

from tccap.tls.finder.inspect import inspect

# In its messages, as haproxy has them; or as arguments of a function that logs nothing.
IN_MESSAGES = """
#include <stdio.h>
const char *volatile text = "CLIENT_HANDSHAKE_TRAFFIC_SECRET: and "
    "SERVER_HANDSHAKE_TRAFFIC_SECRET: and CLIENT_TRAFFIC_SECRET_0: and so on";
void show(void) { puts(text); }
"""
AS_ARGUMENTS = """
#include <stdio.h>
void show(void)
{
    puts("CLIENT_HANDSHAKE_TRAFFIC_SECRET");
    puts("SERVER_HANDSHAKE_TRAFFIC_SECRET");
    puts("CLIENT_TRAFFIC_SECRET_0");
}
"""
LABELS = "It holds key-log labels"
MAIN = "int main(void) { show(); return 0; }"
WITH_OPENSSL = "void *SSL_new(void *); int main(void) { show(); return !SSL_new(0); }"


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (IN_MESSAGES, f"{LABELS} in a form that is not understood"),
        (AS_ARGUMENTS, f"{LABELS}, but the function that logs them was not understood"),
    ],
)
def test_a_program_that_uses_a_library_is_not_taken_for_one(
    tmp_path: Path, source: str, why: str
) -> None:
    assert refusal(tmp_path, source + MAIN) == f"{why}."
    assert refusal(tmp_path, source + WITH_OPENSSL, "-l:libssl.so.3") == (
        f"{why}, and uses the OpenSSL of another file: if connections get no secrets, "
        "and the program can write a key log, name that in the option keylog-file."
    )


def refusal(folder: Path, source: str, *libraries: str) -> str:
    program = folder / "program"
    command: list[str | Path] = [
        "gcc",
        "-O2",
        "-s",
        "-x",
        "c",
        "-",
        "-o",
        program,
        *libraries,
    ]
    subprocess.run(command, check=True, input=source.encode())
    return inspect(program.read_bytes()).refusal
