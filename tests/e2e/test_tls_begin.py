"""TLS connections whose ClientHello is behind a PROXY header, or in pieces."""

import itertools
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support import oddtls
from support.decrypting import READY, decrypting
from support.tls import TlsHost
from support.tlsclients import NOBODY
from support.wireshark import Wireshark

pytestmark = pytest.mark.same_everywhere

TRACED = ("client", "server")
ROWS = [*itertools.product(TRACED, oddtls.VERSIONS, oddtls.KINDS)]


@pytest.fixture
def ports(tls_host: TlsHost) -> Iterator[dict[str, int]]:
    """Yield the ports of two servers, by which end of their connections is traced."""
    source = tls_host.folder / "oddtls.py"
    source.write_text(Path(oddtls.__file__).read_text())
    ports = {traced: tls_host.free_port() for traced in TRACED}
    with ExitStack() as stack:
        for traced, port in ports.items():
            user = NOBODY if traced == "client" else ()
            words = ("server", str(port), str(tls_host.certificate))
            command = (*user, "/usr/bin/python3", str(source), *words)
            server = subprocess.Popen(
                tls_host.space.command(*command), stdout=subprocess.PIPE
            )
            stack.enter_context(server)
            stack.callback(server.kill)
            assert server.stdout
            assert server.stdout.readline() == b"up\n"
        yield ports


def test_all_connections_are_decrypted(
    wireshark: Wireshark, tls_host: TlsHost, ports: dict[str, int]
) -> None:
    names = ["-".join(row) for row in ROWS]
    with decrypting(wireshark, tls_host.space) as tshark:
        tshark.wait_for_log(READY)
        for row, name in zip(ROWS, names, strict=True):
            traced, version, kind = row
            user = NOBODY if traced == "server" else ()
            words = ("client", str(ports[traced]), version, kind, name)
            source = str(tls_host.folder / "oddtls.py")
            client = (*user, "/usr/bin/python3", source)
            tls_host.get((*client, *words), ports[traced], name)
            tshark.wait_for(name)
        seen = tshark.end()
        assert tshark.captures.left() == []
    assert seen.requests & seen.responses >= {*names}
    counts = tshark.counts
    assert counts["with_secrets"] == counts["connections"] == len(ROWS)
    assert counts["timed_out"] == counts["evicted"] == 0
