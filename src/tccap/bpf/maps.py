"""Maps in the kernel: created, read and written with bpf(2).

Keys and values are ctypes objects with the layout that C gives them (objects.py).
"""

import ctypes
import functools
import json
from typing import Any

from tccap.bpf import objects, uapi
from tccap.bpf.objects import MapSpec
from tccap.bpf.syscall import bpf
from tccap.bpf.uapi import Command, MapType
from tccap.errors import TccapError
from tccap.host.cpus import not_preempted

_PER_CPU = (MapType.PERCPU_HASH, MapType.PERCPU_ARRAY, MapType.LRU_PERCPU_HASH)


def load_btf(raw: bytes) -> int:
    """Load type information into the kernel and return its descriptor.

    OSError as bpf(2) reports it.
    """
    text = ctypes.create_string_buffer(raw, len(raw))
    attributes = uapi.BtfLoad(btf=ctypes.addressof(text), btf_size=len(raw))
    return bpf(Command.BTF_LOAD, attributes)


class Map:
    """One map, used like a dict; the kernel frees it with its last descriptor.

    ``btf_fd`` refers to the type information that ``spec`` points into, and ``cpus`` is
    the number of possible CPUs: values of a per-CPU map are arrays of that length.
    KeyError for a missing key, OSError as bpf(2) reports it.
    """

    def __init__(self, spec: MapSpec, btf_fd: int, cpus: int) -> None:
        self._spec = spec
        self._cpus = cpus
        self.fd = bpf(
            Command.MAP_CREATE,
            uapi.MapCreate(
                map_type=spec.kind,
                key_size=spec.key_len,
                value_size=spec.value_len,
                max_entries=spec.max_entries,
                map_flags=spec.flags,
                map_name=spec.name.encode("ascii")[: uapi.NAME_LEN_MAX],
                btf_fd=btf_fd if spec.btf_value_type else 0,
                btf_key_type_id=spec.btf_key_type,
                btf_value_type_id=spec.btf_value_type,
            ),
        )

    @property
    def Key(self) -> Any:  # noqa: N802  # a class
        """The ctypes type of a key."""
        return self._types[0]

    @property
    def Leaf(self) -> Any:  # noqa: N802  # a class
        """The ctypes type of a value."""
        return self._types[1]

    def __getitem__(self, key: Any) -> Any:
        """Return a copy of the value; from a per-CPU map, an array of all CPUs'."""
        value = self._new_value()
        self._call(Command.MAP_LOOKUP_ELEM, key, value)
        return value

    def __setitem__(self, key: Any, value: Any) -> None:
        """Write a value; not for per-CPU maps."""
        self._call(Command.MAP_UPDATE_ELEM, key, value)

    def __delitem__(self, key: Any) -> None:
        """Remove a key."""
        self._call(Command.MAP_DELETE_ELEM, key, None)

    @functools.cached_property
    def _types(self) -> tuple[Any, Any]:
        spec = self._spec
        key, leaf = (objects.ctype(json.loads(text)) for text in (spec.key, spec.leaf))
        sizes = (ctypes.sizeof(key), ctypes.sizeof(leaf))
        if sizes != (spec.key_len, spec.value_len):
            raise TccapError(f"The types of the map {spec.name} do not fit its sizes.")
        return key, leaf

    def _new_value(self) -> Any:
        leaf = self.Leaf
        if self._spec.kind not in _PER_CPU:
            return leaf()
        # The kernel pads each CPU's value to eight bytes.
        assert ctypes.sizeof(leaf) % 8 == 0
        return (leaf * self._cpus)()

    def _call(self, command: Command, key: Any, value: Any) -> None:
        element = uapi.MapElem(
            map_fd=self.fd,
            key=ctypes.addressof(key),
            value=0 if value is None else ctypes.addressof(value),
        )
        try:
            with not_preempted():
                bpf(command, element)
        except FileNotFoundError:
            raise KeyError(bytes(key)) from None
