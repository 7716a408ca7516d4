"""Secrets read at the finder's sites are those that programs log themselves."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from finder import golinks, programs
from support import netns, uprobe
from tccap.tls.inspector import Inspector
from tccap.tls.keyjoin import KeyJoin
from tccap.tls.sites import Inspection

TLS13 = {
    "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
    "SERVER_HANDSHAKE_TRAFFIC_SECRET",
    "CLIENT_TRAFFIC_SECRET_0",
    "SERVER_TRAFFIC_SECRET_0",
    "EXPORTER_SECRET",
}

GO_RUNS = 20


def library(program: str, name: str) -> Path:
    """Return the library that a program of this machine uses."""
    listing = subprocess.run(
        ["ldd", program], check=True, capture_output=True, text=True
    ).stdout
    [line] = [line for line in listing.splitlines() if line.strip().startswith(name)]
    return Path(line.split("=>")[1].split()[0]).resolve()


def inspect(file: Path) -> Inspection:
    with file.open("rb") as opened, Inspector() as inspector:
        return inspector.inspect(opened.fileno())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return programs.certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def openssl() -> Iterator[uprobe.Reader]:
    file = library("/usr/bin/openssl", "libssl.so")
    with uprobe.reading(file, inspect(file)) as reader:
        yield reader


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_openssl_is_read_as_it_logs(
    openssl: uprobe.Reader, certificate: Path, tmp_path: Path, version: str
) -> None:
    log = tmp_path / "keys"
    pid = programs.openssl_handshake(version, certificate, log)
    written = programs.logged(log)
    assert len(written) == {"TLSv1_2": 1, "TLSv1_3": len(TLS13)}[version]
    assert written == set(openssl.lines(pid))


def test_openssl_is_read_when_it_logs_nothing(
    openssl: uprobe.Reader, certificate: Path
) -> None:
    pid = programs.openssl_handshake("TLSv1_3", certificate, None)
    lines = [line.split() for line in openssl.lines(pid)]
    randoms = {random for _, random, _ in lines}
    assert {label for label, _, _ in lines} == TLS13
    assert len(randoms) == 1


def test_gnutls_is_read_as_it_logs(certificate: Path, tmp_path: Path) -> None:
    file = library("/usr/bin/wget", "libgnutls.so")
    log = tmp_path / "keys"
    with uprobe.reading(file, inspect(file)) as reader:
        with netns.namespace() as space, space.entered():
            pid = programs.gnutls_download(certificate, 44333, log)
        read = set(reader.lines(pid))
    assert len(programs.logged(log)) >= len(TLS13) - 1
    assert programs.logged(log) == read


@pytest.mark.parametrize(("version", "lines"), [("1.2", 1), ("1.3", len(TLS13))])
def test_nss_is_read_as_its_peer_logs(
    certificate: Path, tmp_path: Path, version: str, lines: int
) -> None:
    """NSS builds log nothing: labels and values are joined by the handles of keys."""
    libssl = library("/usr/bin/tstclnt", "libssl3.so")
    softoken = libssl.with_name("libsoftokn3.so")
    at = inspect(library("/usr/bin/tstclnt", "libnss3.so")).handle_at
    assert at is not None
    log = tmp_path / "keys"
    with (
        uprobe.reading(softoken, inspect(softoken)) as values,
        uprobe.reading(libssl, inspect(libssl)) as keys,
        netns.namespace() as space,
        space.entered(),
    ):
        pid = programs.nss_downloads(version, certificate, 44333, log)
        of_values, of_keys = values.lines(pid), keys.lines(pid)
    assert len(of_keys) == 3 * lines
    assert programs.logged(log) == set(_joined(of_values, of_keys, at))


def _joined(values: list[str], keys: list[str], handle_at: int) -> Iterator[str]:
    """Yield key-log lines from the reads of kind "value" and "key"."""
    join = KeyJoin()
    for line in values:
        kind, handle, value = line.split(" ")
        parts = bytes.fromhex(handle), bytes.fromhex(value)
        join.value(0, kind.encode(), *parts, now=0)
    for line in keys:
        label, random, key = line.split(" ")
        parts = bytes.fromhex(random), bytes.fromhex(key)[handle_at:]
        secret = join.secret(0, label.encode(), *parts, now=0)
        assert secret, f"no key has the handle of {label}"
        yield f"{label} {random} {secret.secret.hex()}"


@pytest.fixture(scope="module")
def go_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return programs.go_program(tmp_path_factory.mktemp("go"))


@pytest.mark.parametrize(("version", "lines"), [("1.2", 1), ("1.3", 4)])
def test_a_stripped_go_program_is_read_as_it_logs(
    go_program: Path, certificate: Path, tmp_path: Path, version: str, lines: int
) -> None:
    log = tmp_path / "keys"
    with uprobe.reading(go_program, inspect(go_program)) as reader:
        pid = programs.run(go_program, certificate, log, version)
        read = set(reader.lines(pid))
    assert len(programs.logged(log)) == lines
    assert programs.logged(log) == read


@pytest.mark.parametrize("link", golinks.LINKS)
def test_a_go_program_is_read_however_it_is_linked(
    certificate: Path, tmp_path: Path, link: str
) -> None:
    program = golinks.program(link)
    with uprobe.reading(program, inspect(program)) as reader:
        for number in range(GO_RUNS):
            log = tmp_path / f"keys{number}"
            version, lines = (("1.2", 1), ("1.3", 4))[number % 2]
            pid = programs.run(program, certificate, log, version)
            assert len(programs.logged(log)) == lines
            assert programs.logged(log) == set(reader.lines(pid))


def test_a_log_call_is_read_where_it_is_jumped_over(tmp_path: Path) -> None:
    program = programs.guarded_program(tmp_path)
    found = inspect(program)
    assert found.how == "emulation from the callback checks"
    check_lines(program, program, found)


def test_a_log_function_is_read_that_is_called_by_its_exported_name(
    tmp_path: Path,
) -> None:
    """As BoringSSL's is in TensorFlow."""
    program, library = programs.exporting_library(tmp_path)
    found = inspect(library)
    assert found.how == "emulation"
    check_lines(program, library, found)


def check_lines(program: Path, file: Path, found: Inspection) -> None:
    with uprobe.reading(file, found) as reader:
        pid = programs.run(program)
        read = sorted(reader.lines(pid))
    assert read == [
        f"{label} {'11' * 32} {secret * length}"
        for label, secret, length in (
            ("CLIENT_HANDSHAKE_TRAFFIC_SECRET", "22", 48),
            ("CLIENT_TRAFFIC_SECRET_0", "33", 32),
            ("SERVER_HANDSHAKE_TRAFFIC_SECRET", "22", 48),
            ("SERVER_TRAFFIC_SECRET_0", "33", 48),
        )
    ]
