"""The share of many connections, each of its own process, that is decrypted.

The whole matrix (make tls-matrix) makes more of them, with more libraries, and more
programs at once.
"""

import os
import time
from contextlib import ExitStack

import pytest

from support import running
from support.decrypting import READY, Decrypting, decrypting
from support.tls import Staying, TlsHost
from support.usage import Usage, child, usage
from support.wireshark import Wireshark

MANY = int(os.environ.get("TCCAP_TLS_MANY", "20"))
PROGRAMS = {"OpenSSL": "curl", "GnuTLS": "wget", "NSS": "tstclnt"}
OWN = {"Go": "go", "node": "node", "BoringSSL": "curl_cffi"}
DIFFERENT = 10
if "TCCAP_TLS_MANY" in os.environ:
    PROGRAMS |= OWN
    DIFFERENT = 100


@pytest.mark.parametrize("library", PROGRAMS)
def test_many(
    wireshark: Wireshark,
    tls_host: TlsHost,
    library: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    program = PROGRAMS[library]
    named = [f"tlslibraries:{tls_host.program(program)}"] if library in OWN else []
    names = [f"{library}-{number}" for number in range(MANY)]
    with (
        tls_host.serving("python as nobody") as port,
        decrypting(wireshark, tls_host.space, *named) as tshark,
    ):
        tshark.wait_for_log(READY)
        for name in names:
            tls_host.fetch(program, port, name)
        tshark.wait_for(names[-1])
        decrypted = tshark.end().responses & {*names}
    with capsys.disabled():
        print(  # noqa: T201  # a figure to read
            f"\n{library}: {len(decrypted)} of {MANY} connections decrypted;",
            tshark.waits(),
        )
    assert len(decrypted) >= 0.99 * MANY


def test_different_programs_that_begin_at_once(
    wireshark: Wireshark, tls_host: TlsHost, capsys: pytest.CaptureFixture[str]
) -> None:
    """No two are the same file, and nobody has inspected any of them."""
    files = [tls_host.another("go", f"build-{n}") for n in range(DIFFERENT)]
    with (
        tls_host.serving("python as nobody") as port,
        decrypting(wireshark, tls_host.space) as tshark,
        ExitStack() as stack,
    ):
        tshark.wait_for_log(READY)
        before = _usage(tshark)
        started = time.monotonic()
        programs = [stack.enter_context(tls_host.staying("go", f)) for f in files]
        _fetch(programs, port, "first")
        read = f"secrets are read from Go in {tls_host.folder}/build-"
        running.until(lambda: tshark.logged(read) == DIFFERENT, "all of them probed")
        ready_s = time.monotonic() - started
        after = _usage(tshark)
        names = _fetch(programs, port, "then")
        for name in names:
            tshark.wait_for(name)
        assert not tshark.has_logged("probes are in use")
        seen = tshark.end().responses
    assert names <= seen
    with capsys.disabled():
        first = sum(name.startswith("first") for name in seen)
        print(  # noqa: T201  # a figure to read
            f"\n{DIFFERENT} programs: ready after {ready_s:.1f} s, {first} of their "
            f"first connections decrypted, load {os.getloadavg()[0]:.1f};",
            *(f"{name}: {_text(before[name], after[name])};" for name in before),
        )


def _fetch(programs: list[Staying], port: int, title: str) -> set[str]:
    names = [f"{title}-{number}" for number in range(len(programs))]
    for program, name in zip(programs, names, strict=True):
        program.fetch(port, name)
    return {*names}


def _usage(tshark: Decrypting) -> dict[str, Usage]:
    [engine] = tshark.captures.engines
    return {"engine": usage(engine), "finder": usage(child(engine, "finder"))}


def _text(before: Usage, after: Usage) -> str:
    return f"{after.cpu_s - before.cpu_s:.2f} s of CPU, {after.memory_mib} MiB"
