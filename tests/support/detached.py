"""The programs of a capture that is not attached anywhere: for BPF_PROG_TEST_RUN."""

from typing import Any, NamedTuple

from tccap.engine import parts, programs
from tccap.engine.carrying import ring_of
from tccap.engine.classifier import Classifier, DeviceEntry
from tccap.front import options
from tccap.front.request import plan
from tccap.host import access
from tccap.stream.ring import Ring

LOOPBACK = 1  # ifindex of the device that test runs are on


class Detached(NamedTuple):
    """The classifiers by direction, and the reader of what they write."""

    programs: dict[str, int]
    ring: Ring


def detached(**chosen: Any) -> Detached:
    """Load the programs for some options, and have them take packets."""
    the_plan = plan("tccap-lo", "", options.Options()._replace(**chosen))
    collection = programs.prepare(the_plan, parts.choose(the_plan, access.caller()))
    classifier = Classifier(collection)
    classifier.add_device(LOOPBACK, DeviceEntry(0, True, False, -1, False))
    classifier.begin()
    return Detached(classifier.programs, ring_of(collection, the_plan))
