"""The Plan: what the front asks of the engine.

It crosses from an unprivileged process to a privileged one, so it holds plain
values only, and the engine checks every one of them again.
"""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

from tccap import extcap
from tccap.errors import TccapError
from tccap.options import RING_MIB_MAX, SNAPLEN_MAX, Options

IFNAME_LEN_MAX = 15  # IFNAMSIZ - 1, include/uapi/linux/if.h


@dataclass(frozen=True)
class Plan:
    """One capture.

    ``device`` is a network device's name, or ``any``; ``snaplen`` counts
    bytes of a frame, ``ring_mib`` MiB of the ring.
    """

    device: str
    direction: Literal["both", "in", "out"]
    snaplen: int
    ring_mib: int

    def __post_init__(self) -> None:
        for name, ok in self._checks().items():
            if not ok:
                raise TccapError(f"The plan's {name} is not acceptable.")

    def _checks(self) -> dict[str, bool]:
        device = self.device
        return {
            "device": isinstance(device, str) and 0 < len(device) <= IFNAME_LEN_MAX,
            "direction": self.direction in ("both", "in", "out"),
            "snaplen": _is_within(self.snaplen, 1, SNAPLEN_MAX),
            "ring_mib": _is_within(self.ring_mib, 1, RING_MIB_MAX),
        }

    @property
    def is_any(self) -> bool:
        """Tell whether all devices are meant, later ones included."""
        return self.device == extcap.ANY

    def to_json(self) -> str:
        """Return the Plan as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a Plan; TccapError on anything but exactly its fields."""
        try:
            values: Any = json.loads(text)
        except (ValueError, RecursionError):
            raise TccapError("The plan is not JSON.") from None
        if not isinstance(values, dict) or set(values) != {f.name for f in fields(cls)}:
            raise TccapError("The plan does not have exactly the known fields.")
        return cls(**values)


def make(interface: str, options: Options) -> Plan:
    """Return the Plan for an extcap interface (``tccap-eth0``) and its options."""
    return Plan(
        device=extcap.device_of(interface),
        direction=options.direction,  # type: ignore[arg-type]  # checked inside
        snaplen=options.snaplen,
        ring_mib=options.ring_size,
    )


def _is_within(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high
