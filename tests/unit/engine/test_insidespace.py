"""What programs know of devices inside of a container."""

from unittest.mock import MagicMock

import pytest

from tccap.attach import tcx
from tccap.engine.devices import Device
from tccap.engine.insidespace import NOTHING, InsideSpace
from tccap.front import options, request
from tccap.owners.links import Link
from tccap.owners.occupied import Space
from tccap.stream import linktypes

PLAN = request.plan("tccap-any", "", options.Options())
NUMBER, ARPHRD_ETHER = 7, 1


@pytest.mark.parametrize(
    ("kind", "from_here"),
    [
        ("veth", True),
        ("netkit", True),
        ("bridge", True),
        ("macvlan", True),
        ("macvtap", True),
        ("ipvlan", True),
        ("ipvtap", True),
        ("tun", False),
    ],
)
def test_what_arrives_may_come_from_this_host(
    kind: str, *, from_here: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcx, "need_files", lambda _: None)
    monkeypatch.setattr(tcx, "link", lambda *_: 0)
    classifier = MagicMock()
    inside = InsideSpace(Space(1, 2, "web", "web"), 1, 1, classifier)
    link = Link(NUMBER, kind, 0, 0, -1, 0)
    inside.update(NOTHING._replace(links={NUMBER: link}))
    device = Device(NUMBER, "eth0", ARPHRD_ETHER, b"", (), (), 0, is_hardware=False)
    inside.add(device, linktypes.ETHERNET, 0)
    inside.attach(device, PLAN)
    [(number, entry)] = [call.args for call in classifier.add_device.call_args_list]
    assert (number, entry.from_here) == (NUMBER, from_here)
