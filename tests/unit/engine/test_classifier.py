"""When devices become known to the classifier; its programs are stand-ins."""

from typing import Any

from tccap.bpf.collection import Collection
from tccap.bpf.uapi import ProgType
from tccap.engine.classifier import STAGES, Classifier, DeviceEntry, DeviceKey
from tccap.owners.addresses import OWN_NAMESPACE

ENTRY = DeviceEntry(0, 1, is_loopback=False, far_namespace=-1, leads_away=False)


class _Table(dict[Any, Any]):
    Key = staticmethod(lambda *parts: parts)
    Leaf = staticmethod(lambda *parts: parts)


class _Collection(Collection):
    """Tables without a kernel; `filled` has what was written by `fill`."""

    def __init__(self) -> None:
        self.tables = {"devices": _Table(), "counters": _Table()}
        self.filled: dict[str, Any] = {}

    def __contains__(self, _name: object) -> bool:
        return True

    def program(self, name: str, _kind: ProgType) -> int:
        return 100 + len(name)

    def table(self, name: str) -> Any:
        return self.tables[name]

    def fill(self, name: str, entries: Any) -> None:
        self.filled[name] = entries

    def invalidate_lookups(self) -> None:
        pass


def test_frames_of_a_device_are_ignored_until_the_stages_are_there() -> None:
    collection = _Collection()
    devices = collection.tables["devices"]
    classifier = Classifier(collection)
    for ifindex in (1, 2):
        classifier.add_device(ifindex, ENTRY)
    classifier.remove_device(2)
    assert not devices
    assert "stages" not in collection.filled
    classifier.begin()
    assert [*devices] == [DeviceKey(OWN_NAMESPACE, 1)]
    assert len(collection.filled["stages"]) == len(STAGES)
    classifier.add_device(3, ENTRY)
    classifier.remove_device(1)
    assert [*devices] == [DeviceKey(OWN_NAMESPACE, 3)]
