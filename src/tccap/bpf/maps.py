"""Maps of the kernel: made, read and written by bpf(2).

Keys and values are ctypes, laid out as C has them (objects.py).
"""

import ctypes
import json
from typing import Any

from tccap.bpf import objects
from tccap.bpf.objects import MapSpec
from tccap.bpf.syscall import bpf
from tccap.errors import TccapError

# enum bpf_cmd
_MAP_CREATE, _LOOKUP, _UPDATE, _DELETE = range(4)
_BTF_LOAD = 18
# enum bpf_map_type: one value for each CPU, in places of eight bytes
PERCPU = (5, 6, 10)
_NAME_LEN = 15


class _MapCreate(ctypes.Structure):
    _fields_ = (
        ("map_type", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("inner_map_fd", ctypes.c_uint32),
        ("numa_node", ctypes.c_uint32),
        ("map_name", ctypes.c_char * (_NAME_LEN + 1)),
        ("map_ifindex", ctypes.c_uint32),
        ("btf_fd", ctypes.c_uint32),
        ("btf_key_type_id", ctypes.c_uint32),
        ("btf_value_type_id", ctypes.c_uint32),
    )


class _BtfLoad(ctypes.Structure):
    _fields_ = (
        ("btf", ctypes.c_uint64),
        ("btf_log_buf", ctypes.c_uint64),
        ("btf_size", ctypes.c_uint32),
        ("btf_log_size", ctypes.c_uint32),
        ("btf_log_level", ctypes.c_uint32),
    )


class _Element(ctypes.Structure):
    _fields_ = (
        ("map_fd", ctypes.c_uint64),  # and four bytes of nothing
        ("key", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
    )


def load_btf(raw: bytes) -> int:
    """Give the kernel type information; return its descriptor, or raise OSError."""
    text = ctypes.create_string_buffer(raw, len(raw))
    return bpf(_BTF_LOAD, _BtfLoad(btf=ctypes.addressof(text), btf_size=len(raw)))


class Map:
    """One map; it goes with its last descriptor.

    ``cpus`` is the number of possible CPUs: a map with a value for each gives them as
    an array. KeyError for a key that is not there, OSError as bpf(2) reports it.
    """

    def __init__(self, spec: MapSpec, btf_fd: int, cpus: int) -> None:
        self._spec = spec
        self._cpus = cpus
        self.fd = bpf(
            _MAP_CREATE,
            _MapCreate(
                map_type=spec.kind,
                key_size=spec.key_len,
                value_size=spec.value_len,
                max_entries=spec.max_entries,
                map_flags=spec.flags,
                map_name=spec.name.encode("ascii")[:_NAME_LEN],
                btf_fd=btf_fd if spec.btf_value_type else 0,
                btf_key_type_id=spec.btf_key_type,
                btf_value_type_id=spec.btf_value_type,
            ),
        )
        self._types: tuple[Any, Any] | None = None

    @property
    def Key(self) -> Any:  # noqa: N802  # a class
        """The type of its keys."""
        return self._key_and_leaf()[0]

    @property
    def Leaf(self) -> Any:  # noqa: N802  # a class
        """The type of its values."""
        return self._key_and_leaf()[1]

    def __getitem__(self, key: Any) -> Any:
        """Return a copy of the value, or an array with that of each CPU."""
        value = self._room()
        self._call(_LOOKUP, key, value)
        return value

    def __setitem__(self, key: Any, value: Any) -> None:
        """Write a value that is the same for all CPUs."""
        self._call(_UPDATE, key, value)

    def __delitem__(self, key: Any) -> None:
        """Remove a key."""
        self._call(_DELETE, key, None)

    def _key_and_leaf(self) -> tuple[Any, Any]:
        if not self._types:
            spec = self._spec
            key, leaf = (objects.ctype(json.loads(t)) for t in (spec.key, spec.leaf))
            if (ctypes.sizeof(key), ctypes.sizeof(leaf)) != (
                spec.key_len,
                spec.value_len,
            ):
                raise TccapError(f"The types of the map {spec.name} are misunderstood.")
            self._types = key, leaf
        return self._types

    def _room(self) -> Any:
        leaf = self.Leaf
        if self._spec.kind not in PERCPU:
            return leaf()
        assert ctypes.sizeof(leaf) % 8 == 0
        return (leaf * self._cpus)()

    def _call(self, command: int, key: Any, value: Any) -> None:
        element = _Element(
            map_fd=self.fd,
            key=ctypes.addressof(key),
            value=0 if value is None else ctypes.addressof(value),
        )
        try:
            bpf(command, element)
        except FileNotFoundError:
            raise KeyError(bytes(key)) from None
