"""The programs and maps of one capture, loaded together."""

import errno
import os
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from tccap.bpf import progs
from tccap.bpf.maps import Map, load_btf
from tccap.bpf.objects import MapSize, Object
from tccap.bpf.patch import NO_PATCHES, Patches, TooFarError, patched
from tccap.bpf.uapi import ProgType
from tccap.errors import TccapError
from tccap.host.cpus import possible_cpus

# Our entries in lookup_generations (bpf/lookup_generation.h).
_BY_ENGINE, _BY_CARRIER = 1, 2


class TooComplexError(TccapError):
    """A program is too large, or has too many branches for the verifier."""


class Collection:
    """Maps, made at once, and programs, each loaded when it is first asked for.

    Objects share the maps of the same name. The end of the process frees everything.
    TccapError where the kernel refuses something.
    """

    def __init__(
        self,
        objects: Sequence[Object],
        patches: Patches = NO_PATCHES,
        sizes: Mapping[str, MapSize] = MappingProxyType({}),
    ) -> None:
        self._objects = objects
        self._patches = patches
        self._loaded: dict[tuple[str, ProgType], int] = {}
        self._lookup_generation = 0
        self._counts_as = _BY_ENGINE
        try:
            self._maps = _made_maps(objects, sizes)
        except OSError as error:
            raise TccapError(refusal("make maps", error)) from None

    def __contains__(self, name: str) -> bool:
        """Return whether there is a program of this name."""
        return any(name in each.programs for each in self._objects)

    def program(self, name: str, kind: ProgType) -> int:
        """Return a program's descriptor, which stays ours; load it the first time.

        TccapError where the kernel refuses it; TooComplexError for its size.
        """
        if (name, kind) not in self._loaded:
            self._loaded[name, kind] = self._load(name, kind, self._patches)
        return self._loaded[name, kind]

    def load(self, name: str, kind: ProgType, numbers: Mapping[int, int]) -> int:
        """Load a program once more, with some other numbers patched in.

        Returns a descriptor. Errors are those of `program`.
        """
        patches = self._patches._replace(numbers={**self._patches.numbers, **numbers})
        return self._load(name, kind, patches)

    def _load(self, name: str, kind: ProgType, patches: Patches) -> int:
        try:
            return progs.load(kind, name, self._patched(name, patches))
        except TooFarError:
            raise TooComplexError(f"{name} is too large") from None
        except OSError as error:
            reason = refusal(f"load {name}", error)
            kinds = TooComplexError if error.errno == errno.E2BIG else TccapError
            raise kinds(reason) from None

    def instructions(self, name: str) -> bytes:
        """Return a program's instructions, with the descriptors of its maps."""
        return self._patched(name, self._patches)

    def _patched(self, name: str, patches: Patches) -> bytes:
        home = next(each for each in self._objects if name in each.programs)
        fds = {place: self._maps[s.name].fd for place, s in enumerate(home.maps)}
        return patched(home.instructions(name, fds), patches)

    def table(self, name: str) -> Map:
        """Return a map."""
        return self._maps[name]

    def fill(self, name: str, entries: Mapping[Any, int]) -> None:
        """Write entries into a map of numbers; a tuple makes a structured key.

        A map of tail calls takes the descriptors of programs.
        """
        table = self._maps[name]
        for key, value in entries.items():
            parts = key if isinstance(key, tuple) else (key,)
            table[table.Key(*parts)] = table.Leaf(value)

    def invalidate_lookups(self) -> None:
        """Invalidate the per-CPU lookup caches of the programs.

        Call it after changing or deleting an entry of devices, local_networks or
        processes.
        """
        self._lookup_generation += 1
        self.fill("lookup_generations", {self._counts_as: self._lookup_generation})

    def count_as_carrier(self) -> None:
        """Count changes apart from the engine, which goes on to make some."""
        self._counts_as, self._lookup_generation = _BY_CARRIER, 0

    def fds(self, *names: str) -> set[int]:
        """Return the descriptors of those maps that there are."""
        return {self._maps[name].fd for name in names if name in self._maps}


def _made_maps(
    objects: Sequence[Object], sizes: Mapping[str, MapSize]
) -> dict[str, Map]:
    made: dict[str, Map] = {}
    for each in objects:
        btf_fd = load_btf(each.btf) if each.btf else 0
        for spec in each.maps:
            if spec.name not in made:
                size = sizes.get(spec.name, MapSize())
                made[spec.name] = Map(spec.resized(size), btf_fd, possible_cpus())
    return made


def refusal(what: str, error: Exception) -> str:
    """Return a sentence: what failed, and what to do.

    The verifier's words go to stderr, for the log.
    """
    if isinstance(error, progs.RefusedError):
        print(error.log, file=sys.stderr)  # noqa: T201  # the front reads it
    if os.geteuid() != 0:
        return f"Capturing needs root: tccap could not {what}."
    first_line = (str(error).splitlines() or [""])[0]
    return (
        f"tccap could not {what} ({first_line}): run 'tccap check' to see what this "
        "machine lacks, or capture with --log-level debug --log-file FILE to see why."
    )
