"""Log calls that the caller jumps over if the program has set no callback.

Link-time optimisation moves the test for the callback, or the whole log function, into
its callers. Then the call is never reached in most programs, but the conditional jump
before it always is. That jump is probed (`guardedcall`).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from tccap.tls.finder.code import Decoder
from tccap.tls.finder.errors import RefusedError
from tccap.tls.finder.guardedcall import Behind, GuardedCalls, Log
from tccap.tls.finder.guards import Graph, Guard
from tccap.tls.finder.image import Image
from tccap.tls.sites import SITES_MAX, Site

_NOT_UNDERSTOOD = (
    "Its log function is not called unless the program asks for a key log, and the "
    "jumps over its calls were not understood."
)


def sites(
    image: Image, decoder: Decoder, strings: dict[int, str], log: Log, calls: set[int]
) -> tuple[Site, ...]:
    """Return the sites of the jumps that guard these calls.

    RefusedError if one of the calls is not understood: some of a connection's secrets
    do not decrypt it.
    """
    runs = GuardedCalls(image, decoder, strings, log)
    by_function: dict[int, set[int]] = defaultdict(set)
    for call in calls:
        start, _ = image.functions.around(call) or (call, call)
        by_function[start].add(call)
    found: set[Site] = set()
    for start, its_calls in by_function.items():
        found |= _Function(runs, Graph(image, decoder, start), its_calls).sites()
    if len(found) > SITES_MAX:
        raise RefusedError(_NOT_UNDERSTOOD)
    return tuple(sorted(found, key=lambda site: (site.address, str(site.label))))


class _Function:
    """The log calls of one function."""

    def __init__(self, runs: GuardedCalls, graph: Graph, calls: set[int]) -> None:
        self._graph = graph
        self._jumps = {call: list(graph.guards(call)) for call in calls}
        self._guards = {
            call: [each for each in jumps if runs.is_proven(graph, each, call)]
            for call, jumps in self._jumps.items()
        }
        self._behind = {
            guard: runs.behind(guard)
            for guards in self._guards.values()
            for guard in guards
        }

    def sites(self) -> set[Site]:
        """Return the sites of all calls; RefusedError if one is not understood."""
        found: set[Site] = set()
        covered: set[int] = set()
        for call, guards in self._guards.items():
            for guard in guards:
                for behind in self._needed(guard, call):
                    covered.add(behind.call)
                    found.add(behind.site)
        if covered < self._jumps.keys():
            raise RefusedError(_NOT_UNDERSTOOD)
        return found

    def _needed(self, guard: Guard, call: int) -> Iterator[Behind]:
        """Yield the calls behind a guard that nothing else reads without a callback."""
        behind = {each.call: each for each in self._behind[guard]}
        past = self._graph.reachable(guard.past_at)
        later = self._graph.reachable(call) & self._jumps.keys() - {call}
        for each in (call, *later):
            if each != call and self._is_reached(each, past):
                continue
            if each not in behind or not self._is_certain(each, behind[each].passed):
                raise RefusedError(_NOT_UNDERSTOOD)
            yield behind[each]

    def _is_reached(self, call: int, places: set[int]) -> bool:
        """Return whether one of a call's own guards is among these places."""
        return any(guard.jump in places for guard in self._guards[call])

    def _is_certain(self, call: int, passed: Iterable[int]) -> bool:
        """Return whether each last jump before a call is a guard or has been passed."""
        unproven = {*self._jumps[call]} - {*self._guards[call]}
        return {jump.jump for jump in unproven} <= {*passed}
