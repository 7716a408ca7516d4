"""The list of containers and units that use the network."""

import pytest

from tccap.host import cgroups, placelist, processlist
from tccap.host.processlist import Listed

ID = "0123456789abcdef" * 4
PATHS = {
    1: "/init.scope",
    2: f"/x/{ID}",
    3: "/system.slice/web.service",
    4: f"/x/{ID}",
    5: "/",
    6: "/lxc.payload.db",
    7: "/system.slice/a{b}.service",
}


def test_the_busiest_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [Listed(pid, "", "", (), sockets=pid) for pid in PATHS]
    monkeypatch.setattr(processlist, "with_network_sockets", lambda: listed)
    monkeypatch.setattr(cgroups, "path_of", lambda pid, _: PATHS[pid])
    found = placelist.with_network_sockets()
    assert sorted(found[:2]) == [
        (f"container={ID}", f"container {ID[:12]}, 6 sockets"),
        ("container=db", "container db, 6 sockets"),
    ]
    assert found[2:] == [
        ("unit=web.service", "unit web.service, 3 sockets"),
        ("unit=init.scope", "unit init.scope, 1 socket"),
    ]
